"""Counts the parameters of a model from its shape.

The output layer is counted for language models, but not for encoders, which are trained without it.
Tied embeddings count once.
"""

from __future__ import annotations

from sweeper.facts.models.architecture import Architecture
from sweeper.facts.record import LatentAttention, MixtureOfExperts


def count_parameters(a: Architecture) -> int:
    """The number of parameters; exact if ``a.countable``."""
    if a.kind == "encoder-decoder":
        return _t5(a)
    layers = a.layers * (_attention(a) + _norms(a)) + _feed_forwards(a)
    return _embeddings(a) + layers + _after_layers(a) + _family_extras(a)


def _linear(inputs: int, outputs: int, bias: bool = False) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _embedding_width(a: Architecture) -> int:
    """The width of the embeddings, which are narrower than the layers in ELECTRA and OPT-350m."""
    return a.settings.size("embedding_size", a.settings.size("word_embed_proj_dim", a.hidden_size))


def _embeddings(a: Architecture) -> int:
    settings, family = a.settings, a.settings.family
    width = _embedding_width(a)
    total = a.vocabulary_size * width + settings.number("type_vocab_size", 0) * width
    if family.positions is not None and settings.get("position_biased_input") is not False:
        rows = settings.number("max_position_embeddings") + family.positions
        total += rows * (width if a.kind == "encoder" else a.hidden_size)
    if family.embedding_norm:
        total += family.norm * (width if a.model_type == "electra" else a.hidden_size)
    if width == a.hidden_size:
        return total
    bias = a.model_type == "electra"
    projections = 2 if a.model_type == "opt" else 1
    return total + projections * _linear(width, a.hidden_size, bias)


def _attention(a: Architecture) -> int:
    if a.mla is not None:
        return _latent(a, a.mla)
    family, hidden = a.settings.family, a.hidden_size
    queries, keys = a.attention_heads * a.head_dim, a.key_value_heads * a.head_dim
    bias = a.settings.flag(family.qkv_bias)
    total = _linear(hidden, queries, bias) + 2 * _linear(hidden, keys, bias)
    total += _linear(queries, hidden, a.settings.flag(family.out_bias))
    if family.qk_norm == "head" and a.settings.get("use_qk_norm") is not False:
        total += 2 * a.head_dim
    elif family.qk_norm == "full":
        total += queries + keys
    return total


def _latent(a: Architecture, mla: LatentAttention) -> int:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""
    hidden, heads = a.hidden_size, a.attention_heads
    bias = a.settings.flag("attention_bias")
    head = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    if mla.q_lora_rank is None:
        total = _linear(hidden, heads * head)
    else:
        total = _linear(hidden, mla.q_lora_rank, bias) + mla.q_lora_rank
        total += _linear(mla.q_lora_rank, heads * head)
    total += _linear(hidden, mla.kv_lora_rank + mla.qk_rope_head_dim, bias) + mla.kv_lora_rank
    total += _linear(mla.kv_lora_rank, heads * (mla.qk_nope_head_dim + mla.v_head_dim))
    return total + _linear(heads * mla.v_head_dim, hidden, bias)


def _feed_forward(a: Architecture, width: int) -> int:
    bias = a.settings.flag(a.settings.family.mlp_bias)
    into = _linear(a.hidden_size, width, bias)
    return (2 * into if a.gated_mlp else into) + _linear(width, a.hidden_size, bias)


def _feed_forwards(a: Architecture) -> int:
    """Feed-forward blocks of all layers, dense and sparse."""
    sparse = a.moe.layers if a.moe else 0
    total = (a.layers - sparse) * _feed_forward(a, a.intermediate_size)
    return total + (sparse * _sparse(a, a.moe) if a.moe else 0)


def _sparse(a: Architecture, moe: MixtureOfExperts) -> int:
    """Router, routed experts and shared experts of one layer."""
    total = moe.experts * (a.hidden_size + _feed_forward(a, moe.intermediate_size))
    if moe.shared_intermediate_size:
        total += _feed_forward(a, moe.shared_intermediate_size)
    if a.model_type in ("qwen2_moe", "qwen3_next", "qwen3_5_moe_text"):
        total += a.hidden_size  # the gate of its shared expert
    return total


def _norms(a: Architecture) -> int:
    """Norms of hidden width in one layer."""
    family = a.settings.family
    norms = family.norms
    if a.model_type == "falcon":
        new = bool(a.settings.get("new_decoder_architecture"))
        parallel = a.settings.number("num_ln_in_parallel_attn", 2 if new else 1)
        norms = parallel if a.parallel_blocks else 2
    elif a.model_type == "stablelm" and a.parallel_blocks:
        norms = 1
    return norms * family.norm * a.hidden_size


def _after_layers(a: Architecture) -> int:
    """Final norm, output layer, pooler."""
    family = a.settings.family
    has_norm = family.final_norm and a.settings.get("do_layer_norm_before") is not False
    total = family.norm * a.hidden_size if has_norm else 0
    if a.kind == "decoder" and not a.tied_embeddings:
        total += a.vocabulary_size * _embedding_width(a)
    if a.settings.flag(family.head_bias):
        total += a.vocabulary_size
    return total + (_linear(a.hidden_size, a.hidden_size, True) if family.pooler else 0)


def _family_extras(a: Architecture) -> int:
    """Parameters that only one family has."""
    if a.model_type == "modernbert":
        return -a.hidden_size  # its first layer has no norm before attention
    if a.model_type == "deberta-v2":
        return _deberta(a)
    if a.model_type == "mpnet":  # relative positions, one table for all layers
        return a.settings.number("relative_attention_num_buckets") * a.attention_heads
    if "linear_num_key_heads" in a.settings.family.defaults:
        return _gated_delta_layers(a)
    if a.model_type == "gpt_oss" and a.moe:  # attention sinks, and the router's bias
        return a.layers * a.attention_heads + a.moe.layers * a.moe.experts
    return 0


def _gated_delta_layers(a: Architecture) -> int:
    """Parameters of Qwen's hybrids beyond plain attention: a gate on queries in attention layers,
    Gated DeltaNet minus attention in the others."""
    number = a.settings.number
    attention = a.layers // number("full_attention_interval")
    gate = a.hidden_size * a.attention_heads * a.head_dim
    keys = number("linear_num_key_heads") * number("linear_key_head_dim")
    value_heads = number("linear_num_value_heads")
    values = value_heads * number("linear_value_head_dim")
    delta = a.hidden_size * (2 * keys + 3 * values + 2 * value_heads)
    delta += (2 * keys + values) * number("linear_conv_kernel_dim")
    delta += 2 * value_heads + number("linear_value_head_dim")
    return attention * gate + (a.layers - attention) * (delta - _attention(a))


def _deberta(a: Architecture) -> int:
    """Relative positions, their projections, and the convolution at the first layer."""
    settings, hidden = a.settings, a.hidden_size
    total = 0
    if settings.get("relative_attention"):
        reach = settings.number("max_relative_positions")
        reach = reach if reach >= 1 else settings.number("max_position_embeddings")
        buckets = settings.number("position_buckets", -1)
        total += 2 * (buckets if buckets > 0 else reach) * hidden
        if not settings.get("share_att_key"):
            kinds = str(settings.get("pos_att_type") or "")
            projections = ("c2p" in kinds) + ("p2c" in kinds)
            total += a.layers * projections * _linear(hidden, hidden, True)
    if "layer_norm" in str(settings.get("norm_rel_ebd")):
        total += 2 * hidden
    if (kernel := settings.number("conv_kernel_size", 0)) > 0:
        groups = settings.size("conv_groups", 1)
        total += kernel * hidden * hidden // groups + hidden + 2 * hidden
    return total


def _t5(a: Architecture) -> int:
    """Encoder and decoder of T5 (arXiv:1910.10683): no biases, one position table in each."""
    inner = a.attention_heads * a.head_dim
    attention = 4 * a.hidden_size * inner
    feed_forward = _feed_forward(a, a.intermediate_size)
    decoder_layers = a.settings.number("num_decoder_layers", a.layers)
    buckets = a.settings.number("relative_attention_num_buckets", 32)
    total = a.layers * (attention + feed_forward + 2 * a.hidden_size)
    total += decoder_layers * (2 * attention + feed_forward + 3 * a.hidden_size)
    total += 2 * a.hidden_size + 2 * buckets * a.attention_heads
    return total + a.vocabulary_size * a.hidden_size * (1 if a.tied_embeddings else 2)
