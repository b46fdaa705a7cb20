"""Traits of a family's block that affect only memory: kernels, activations, dropout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sweeper.facts.record import ModelFacts

Norm = Literal["rms", "rms_wide", "layer", "layer_wide"]
Activation = Literal["silu", "gelu", "gelu_composed", "relu"]


@dataclass(frozen=True, slots=True)
class BlockTraits:
    """Traits of a family's block that affect memory and do not follow from its shape.

    Args:
        norm: ``rms`` computes in float32 on a copy, as transformers' RMSNorm does; ``rms_wide``
            multiplies with its weights there as well. ``layer`` is PyTorch's fused kernel,
            ``layer_wide`` one written out in tensor operations.
        rope: Queries and keys are rotated, which makes new tensors.
        activation: ``gelu_composed`` is the tanh formula written out in tensor operations.
        post_norm: Norms follow the residual sums, as in BERT.
        fused_views: Where queries, keys and values are one projection, they are views of it.
        fused_attention: The family knows SDPA; else its attention is eager where SDPA is asked for.
        dropout: The config's default drops hidden states and attention weights.
        capped: Logits and attention scores pass through a tanh, which keeps its result.
    """

    norm: Norm = "rms"
    rope: bool = True
    activation: Activation = "silu"
    dropout: bool = False
    post_norm: bool = False
    fused_views: bool = True
    fused_attention: bool = True
    capped: bool = False


_NEOX = BlockTraits(norm="layer", activation="gelu")
_GEMMA = BlockTraits(norm="rms_wide", activation="gelu")
_GPT2 = BlockTraits(norm="layer", rope=False, activation="gelu_composed", dropout=True)
_GPTJ = BlockTraits(norm="layer", activation="gelu_composed")
_BERT = BlockTraits(norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True)

#: Family traits read from the models' code in transformers; families that are not named here
#: follow Llama if they are gated decoders, else the nearest of GPT-NeoX and BERT.
_TRAITS: dict[str, BlockTraits] = {
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, capped=True, fused_attention=False),
    "gpt_oss": BlockTraits(fused_attention=False),
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "olmo2": BlockTraits(norm="rms_wide"),
    "olmo3": BlockTraits(norm="rms_wide"),
    "cohere": BlockTraits(norm="layer_wide"),
    "cohere2": BlockTraits(norm="layer_wide"),
    "arcee": BlockTraits(activation="relu"),
    "apertus": BlockTraits(activation="relu"),
    "nemotron": BlockTraits(norm="layer", activation="relu"),
    "persimmon": BlockTraits(norm="layer", activation="relu"),
    "stablelm": BlockTraits(norm="layer"),
    "phi": _GPTJ,
    "gptj": _GPTJ,
    "codegen": _GPTJ,
    "gpt2": _GPT2,
    "gpt_bigcode": replace(_GPT2, activation="gelu"),
    "opt": replace(_GPT2, activation="relu"),
    "mpt": replace(_NEOX, rope=False, fused_attention=False),
    "bloom": replace(_NEOX, rope=False, fused_attention=False),
    "falcon": replace(_NEOX, fused_views=False),
    "mpnet": replace(_BERT, fused_attention=False),
    "deberta-v2": replace(_BERT, fused_attention=False),
    "modernbert": _NEOX,
    "t5": BlockTraits(rope=False, activation="gelu_composed", dropout=True),
}


def traits(model: ModelFacts) -> BlockTraits:
    """The traits of the model's family, or of the nearest one that is known."""
    nearest = _BERT if model.kind == "encoder" else BlockTraits() if model.gated_mlp else _NEOX
    return _TRAITS.get(model.model_type, nearest)
