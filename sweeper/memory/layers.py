"""Memory of layers, head and loss: what they keep for the backward pass, and their peaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeper.facts.record import USUAL_OPTIMIZER, MixtureOfExperts, ModelFacts
from sweeper.memory.operations import Recorder, Value
from sweeper.memory.setup import LOSS_ROWS, Setup

#: Fields on which bytes per token do not depend: set-ups that differ only in them share a cached
#: result.
_IGNORED_FIELDS: dict[str, Any] = {
    "micro_batch": 1, "gradient_accumulation_steps": 1, "gradient_checkpointing": False,
    "evaluation_batch": 0, "evaluation_length": 0, "gpus": 1,
    "optimizer": USUAL_OPTIMIZER,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Bytes per token of one kind of layer, and the number of such layers.

    Args:
        kept: Bytes kept from forward to backward without checkpointing.
        peak: Peak of the backward pass, kept bytes included.
        entry: Bytes of the layer's input, which is all that checkpointing keeps.
    """

    kept: float
    peak: float
    entry: float
    count: int


@lru_cache(maxsize=4096)
def layer_costs(model: ModelFacts, setup: Setup) -> tuple[LayerCost, ...]:
    """The costs of the model's kinds of layers, in the order of the forward pass."""
    return _layer_costs(model, setup.replace(**_IGNORED_FIELDS))


@lru_cache(maxsize=512)
def _layer_costs(model: ModelFacts, setup: Setup) -> tuple[LayerCost, ...]:
    if model.kind == "encoder-decoder":
        return tuple(_cost(model, setup, model.layers, cross=cross) for cross in (False, True))
    sparse_layers = model.moe.layers if model.moe else 0
    counts = ((model.layers - sparse_layers, None), (sparse_layers, model.moe))
    return tuple(_cost(model, setup, count, moe) for count, moe in counts if count)


def _cost(
    model: ModelFacts,
    setup: Setup,
    count: int,
    moe: MixtureOfExperts | None = None,
    *,
    cross: bool = False,
) -> LayerCost:
    """The cost of ``count`` layers with these experts, or with cross-attention."""
    recorder = Recorder(model, setup)
    entry = Value(model.hidden_size, setup.residual_bytes)
    if recorder.autocast and recorder.block_traits.post_norm:
        entry = Value(model.hidden_size, 4)  # LayerNorm's output under autocast
    _layer(recorder, entry, moe, cross)
    return LayerCost(recorder.kept(), recorder.backward_peak(), entry.nbytes, count)


def _layer(recorder: Recorder, x: Value, moe: MixtureOfExperts | None, cross: bool) -> Value:
    if recorder.model.parallel_blocks:
        normed = recorder.norm(x)
        parallel = recorder.norm(x) if recorder.family.norms > 1 else normed
        attended = _attention_sublayer(recorder, normed)
        return recorder.add(recorder.add(attended, _feed_forward(recorder, parallel, moe)), x)
    if recorder.block_traits.post_norm:
        x = recorder.norm(recorder.add(_attention_sublayer(recorder, x), x))
        return recorder.norm(recorder.add(_feed_forward(recorder, x, moe), x))
    x = recorder.add(_attention_sublayer(recorder, recorder.norm(x)), x)
    if cross:
        encoded = Value(recorder.model.hidden_size, x.itemsize)
        x = recorder.add(_attention(recorder, recorder.norm(x), encoded), x)
    return recorder.add(_feed_forward(recorder, recorder.norm(x), moe), x)


def _attention_sublayer(recorder: Recorder, x: Value) -> Value:
    """Self-attention with the adapter and the norm after it, if it has them."""
    y = _attention(recorder, x)
    y = _bottleneck(recorder, y) if recorder.setup.placement == "houlsby" else y
    return recorder.norm(y) if recorder.family.norms > 2 else y


def _feed_forward(recorder: Recorder, x: Value, moe: MixtureOfExperts | None) -> Value:
    """The MLP or the experts, with the adapter and the norm after them."""
    y = _experts(recorder, x, moe) if moe else _mlp(recorder, x, recorder.model.intermediate_size)
    y = recorder.dropout(y) if recorder.block_traits.dropout else y
    y = _bottleneck(recorder, y)
    return recorder.norm(y) if recorder.family.norms > 2 else y


def _mlp(recorder: Recorder, x: Value, width: float, shared: bool = False) -> Value:
    if not recorder.model.gated_mlp:
        up = recorder.activate(recorder.linear("up", x, width))
        return recorder.linear("down", up, x.elements)
    if "gate_up" in recorder.family.names:
        gate_up = recorder.linear("gate_up", x, 2 * width)
        gate = recorder.record([gate_up], saves=[gate_up], elements=width)
        # The other half is a slice, which keeps the whole tensor.
        product = recorder.record([gate, gate_up], saves=[gate, gate_up])
    else:
        gate = recorder.activate(recorder.linear("shared_gate" if shared else "gate", x, width))
        up = recorder.linear("shared_up" if shared else "up", x, width)
        product = recorder.multiply(gate, up)
    return recorder.linear("shared_down" if shared else "down", product, x.elements)


def _experts(recorder: Recorder, x: Value, moe: MixtureOfExperts) -> Value:
    """Routed experts, on a copy of each token for each of its experts."""
    hidden, itemsize = recorder.model.hidden_size, recorder.setup.compute_bytes
    copies = moe.experts_per_token * hidden
    gathered = recorder.record([recorder.autocast16(x)], elements=copies, itemsize=itemsize)
    width = moe.experts_per_token * moe.intermediate_size
    if recorder.setup.experts_are_linear and "down" in recorder.lora_roles:
        down = _mlp(recorder, gathered, width)
    else:
        down = _stacked_experts(recorder, gathered, width)
    y = recorder.record([down], saves=[down], elements=hidden, itemsize=x.itemsize)
    if moe.shared_intermediate_size:
        y = recorder.add(y, _mlp(recorder, x, moe.shared_intermediate_size, shared=True))
    return y


def _stacked_experts(recorder: Recorder, gathered: Value, width: float) -> Value:
    """Experts whose stacked weights take part in grouped matrix products."""
    trained = recorder.trains_base
    both = width * (2 if recorder.model.gated_mlp else 1)
    gate_and_up = recorder.record([gathered], saves=[gathered] if trained else [], elements=both)
    active = recorder.record([gate_and_up], saves=[gate_and_up], elements=width)
    product = recorder.record([active, gate_and_up], saves=[active, gate_and_up])
    down_saves = [product] if trained else []
    return recorder.record([product], saves=down_saves, elements=gathered.elements)


def _bottleneck(recorder: Recorder, x: Value) -> Value:
    """A bottleneck adapter after a sublayer: down, activation, up, residual. Without one, ``x``."""
    setup = recorder.setup
    if setup.traits.adds != "bottlenecks":
        return x
    source = recorder.autocast16(recorder.autocast32(x))
    width = max(1, recorder.model.hidden_size // setup.reduction_factor)
    low = recorder.record([source], saves=[source], elements=width)
    active = recorder.record([low], saves=[low])
    return recorder.add(x, recorder.record([active], saves=[active], elements=x.elements))


#: Families whose logits are the output layer's output, neither scaled nor capped.
PLAIN_LOGITS = (
    *("gemma", "gpt2", "gpt_neox", "llama", "mistral", "mixtral", "olmo2", "phi3", "smollm3"),
    *("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"),
)


def loss_by_rows(model: ModelFacts, setup: Setup, *, trains: bool = True) -> bool:
    """Whether the loss is computed for ``LOSS_ROWS`` tokens (rows of the logits) at a time.

    Args:
        trains: Whether the loss is that of a training step, not of evaluation.
    """
    if setup.loss != "by-rows" or setup.gpus > 1 or setup.modules_to_save:
        return False
    float16 = setup.precision == "fp16-mixed"
    needs_all_logits = trains and (setup.traits.trains_base or setup.extra.reference or float16)
    return model.model_type in PLAIN_LOGITS and not needs_all_logits


def head_peak(model: ModelFacts, setup: Setup) -> float:
    """Peak bytes per token of the final norm, the vocabulary's logits and the cross-entropy.

    It depends on ``setup.loss``. ``full`` follows transformers: logits in the compute dtype, their
    float32 copy, its log softmax; then the gradients of both. ``kernel`` keeps full float32 logits
    and one shifted copy, whose gradient is written in place. ``chunked`` keeps logits and their log
    softmax in the compute dtype and casts one chunk at a time to float32. ``fused`` never holds all
    logits: Liger takes so few tokens at a time that their logits are no larger than all hidden
    states. ``by-rows`` is what trials use: ``LOSS_ROWS`` tokens at a time, forward and backward.
    """
    recorder = Recorder(model, setup)
    x = Value(model.hidden_size, setup.residual_bytes)
    normed = recorder.norm(x)
    if setup.classes:
        return recorder.backward_peak()
    source = recorder.autocast16(normed)
    kept = recorder.kept() + (source.nbytes if recorder.trains_base else 0.0)
    itemsize, hidden = source.itemsize, model.hidden_size
    vocabulary = model.vocabulary_size * setup.answer_fraction
    if recorder.block_traits.capped and setup.loss != "fused":
        kept += itemsize * vocabulary
    kept_at_loss = kept + 2 * x.nbytes  # the last block's output and its gradient
    if setup.loss == "fused":
        return kept_at_loss + hidden * (itemsize + 4 + 4 + itemsize)
    if loss_by_rows(model, setup):
        states = itemsize * hidden * setup.answer_fraction
        share_at_once = min(LOSS_ROWS / setup.tokens, setup.answer_fraction)
        chunk = (
            share_at_once * model.vocabulary_size * (12 + (0 if itemsize == 4 else 2 * itemsize))
        )
        return kept_at_loss + 2 * states + chunk
    if setup.loss == "chunked":
        return kept_at_loss + 2 * itemsize * vocabulary
    if setup.loss == "kernel":
        return kept_at_loss + 8 * vocabulary
    return kept + 12 * vocabulary


def _attention(recorder: Recorder, x: Value, keys_from: Value | None = None) -> Value:
    """Self-attention, or cross-attention if keys and values come from another sequence."""
    if recorder.model.mla is not None:
        query, key, value = _latent_query_key_value(recorder, x)
    else:
        query, key, value = _query_key_value(recorder, x, keys_from or x)
    mixed = _attention_product(recorder, query, key, value)
    y = recorder.linear("o", mixed, recorder.model.hidden_size)
    return recorder.dropout(y) if recorder.block_traits.dropout else y


def _query_key_value(recorder: Recorder, x: Value, source: Value) -> tuple[Value, Value, Value]:
    model, traits = recorder.model, recorder.block_traits
    query_width = model.attention_heads * model.head_dim
    key_width = model.key_value_heads * model.head_dim
    if "qkv" in recorder.family.names:
        fused_output = recorder.linear("qkv", x, query_width + 2 * key_width)
        query = recorder.record([fused_output], elements=query_width)
        key = recorder.record([fused_output], elements=key_width)
        value = fused_output  # a slice keeps the fused tensor alive
        if not traits.fused_views:
            value = recorder.record([fused_output], elements=key_width)
        if not traits.rope and not recorder.family.qk_norm:
            query = key = fused_output
    else:
        query = recorder.linear("q", x, query_width)
        key = recorder.linear("k", source, key_width)
        value = recorder.linear("v", source, key_width)
    if recorder.family.qk_norm:
        query, key = recorder.norm(query), recorder.norm(key)
    if traits.rope:
        query, key = recorder.rotate(query), recorder.rotate(key)
    return query, key, value


def _latent_query_key_value(recorder: Recorder, x: Value) -> tuple[Value, Value, Value]:
    model = recorder.model
    mla, heads = model.mla, model.attention_heads
    assert mla is not None
    query_width = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    if mla.q_lora_rank:
        compressed = recorder.norm(recorder.linear("q_a", x, mla.q_lora_rank))
        query = recorder.linear("q_b", compressed, query_width)
    else:
        query = recorder.linear("q", x, query_width)
    joint = recorder.linear("kv_a", x, mla.kv_lora_rank + mla.qk_rope_head_dim)
    latent = recorder.norm(recorder.record([joint], elements=mla.kv_lora_rank))
    expanded = recorder.linear("kv_b", latent, heads * (mla.qk_nope_head_dim + mla.v_head_dim))
    # Joining with the rotary part makes a new tensor.
    key = recorder.record([expanded], elements=query_width)
    return recorder.rotate(query), key, expanded


def _attention_product(recorder: Recorder, query: Value, key: Value, value: Value) -> Value:
    model, setup = recorder.model, recorder.setup
    heads = model.attention_heads
    # The fused kernel for CPUs has no dropout: with dropout, SDPA computes in float32 and keeps the
    # scores.
    is_unfused = setup.device == "cpu" and recorder.block_traits.dropout
    original_itemsize = query.itemsize
    if is_unfused and setup.attention == "sdpa":
        query, key, value = (recorder.cast(part, 4) for part in (query, key, value))
    else:
        query, key, value = (recorder.autocast16(part) for part in (query, key, value))
    mla, itemsize = model.mla, query.itemsize
    width = heads * (mla.v_head_dim if mla else model.head_dim)
    inputs = list(dict.fromkeys([query, key, value]))
    is_grouped = model.attention_heads != model.key_value_heads and mla is None
    lacks_fused_kernel = setup.attention == "sdpa" and not recorder.block_traits.fused_attention
    is_eager = setup.attention == "eager" or is_unfused or lacks_fused_kernel
    # With a mask, transformers repeats shared keys and values itself; prefixes need a mask.
    is_masked = setup.attention == "sdpa" and (setup.padded or setup.traits.adds == "prefix")
    if is_grouped and (is_eager or is_masked):
        inputs = [query, *(recorder.record([part], elements=width) for part in (key, value))]
    if is_eager:
        output = _eager_attention(recorder, inputs, width)
        return recorder.cast(output, original_itemsize) if is_unfused else output
    saves = [*inputs, Value(heads, 4)]
    if is_masked:
        # SDPA converts the boolean mask to numbers in every layer, and keeps each copy.
        saves.append(Value(setup.sequence_length, itemsize))
    return recorder.record(inputs, saves=saves, elements=width, saves_output=True)


def _eager_attention(recorder: Recorder, inputs: list[Value], width: float) -> Value:
    query_key, value, itemsize = inputs[:2], inputs[-1], inputs[0].itemsize
    elements = recorder.model.attention_heads * recorder.setup.sequence_length
    size = elements * itemsize
    scores = recorder.record(query_key, saves=query_key, elements=elements, workspace=size)
    if recorder.block_traits.capped:
        scores = recorder.record([scores], saves_output=True, workspace=size)
    float32_weights = recorder.record([recorder.cast(scores, 4)], saves_output=True)
    weights = recorder.cast(float32_weights, itemsize)
    if recorder.block_traits.dropout:
        weights = recorder.dropout(weights)
    return recorder.record([weights, value], saves=[weights, value], elements=width)
