"""What evaluation allocates beside the weights: logits, one layer at work, generation's cache."""

from __future__ import annotations

from sweeper.facts.record import ModelFacts
from sweeper.planning.memory_setup import Setup


def evaluation_parts(model: ModelFacts, setup: Setup) -> dict[str, float]:
    """Bytes by readable name at the worst moment of evaluation, without gradients.

    Losses need the logits of all tokens in the compute dtype, their float32 copy and its log
    softmax; generation needs those of the last token, and the keys and values of all layers.
    """
    batch, item = setup.evaluation_batch, setup.compute_bytes
    length = setup.evaluation_length or setup.sequence_length
    tokens = batch * length
    parts = {"one layer at work": tokens * _layer_bytes(model, setup, length)}
    if not setup.classes:
        logits = (0 if item == 4 else item) + 8
        parts["evaluation logits"] = setup.answer_fraction * tokens * model.vocabulary_size * logits
        parts["one layer at work"] = 0.0
        if setup.generation_tokens:
            cached = batch * (length + setup.generation_tokens)
            parts["generation cache"] = cached * _cache_bytes(model, item)
    return parts


def _layer_bytes(model: ModelFacts, setup: Setup, length: int) -> float:
    """Bytes a token: the residual stream, attention's tensors, the MLP's."""
    item, wide = setup.compute_bytes, model.intermediate_size
    if model.moe is not None:
        wide = model.moe.experts_per_token * model.moe.intermediate_size
    heads = model.attention_heads * model.head_dim + 2 * model.key_value_heads * model.head_dim
    scores = model.attention_heads * length if setup.attention == "eager" else 0
    mlp = (3 if model.gated_mlp else 2) * wide
    return 2 * model.hidden_size * setup.residual_bytes + item * max(mlp, heads + 2 * scores)


def _cache_bytes(model: ModelFacts, item: int) -> float:
    """Bytes that one cached token takes over all layers."""
    if model.mla is not None:
        mla = model.mla
        wide = model.attention_heads * (
            mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim
        )
        return float(model.layers * wide * item)
    return float(model.layers * 2 * model.key_value_heads * model.head_dim * item)
