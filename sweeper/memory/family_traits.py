"""What a family's block does that ``config.json`` does not say, and what its layers are called.

Names are those of the modules in transformers, because PEFT's ``target_modules`` refer to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sweeper.facts.record import ModelFacts

Role = Literal[
    "q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down",
    "q_a", "q_b", "kv_a", "kv_b", "shared_gate", "shared_up", "shared_down",
]  # fmt: skip
Norm = Literal["rms", "rms_wide", "layer", "layer_wide"]
Activation = Literal["silu", "gelu", "gelu_composed", "relu"]

LLAMA_NAMES: dict[Role, str] = {
    "q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj",
    "gate": "gate_proj", "up": "up_proj", "down": "down_proj",
    "q_a": "q_a_proj", "q_b": "q_b_proj", "kv_a": "kv_a_proj_with_mqa", "kv_b": "kv_b_proj",
    "shared_gate": "gate_proj", "shared_up": "up_proj", "shared_down": "down_proj",
}  # fmt: skip
_NEOX_NAMES: dict[Role, str] = {
    "qkv": "query_key_value", "o": "dense", "up": "dense_h_to_4h", "down": "dense_4h_to_h",
}  # fmt: skip
_BERT_NAMES: dict[Role, str] = {
    "q": "query", "k": "key", "v": "value", "o": "dense", "up": "dense", "down": "dense",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family's block does that memory depends on and ``config.json`` does not say.

    Args:
        norm: ``rms`` computes in float32 on a copy, as transformers' RMSNorm does; ``rms_wide``
            multiplies with its weights there as well. ``layer`` is PyTorch's fused kernel,
            ``layer_wide`` one written out in tensor operations.
        norms: How many norms of the hidden width a block has.
        qk_norm: Queries and keys are normed as well.
        rope: Queries and keys are rotated, which makes new tensors.
        activation: ``gelu_composed`` is the tanh formula written out in tensor operations.
        post_norm: Norms follow the residual sums, as in BERT.
        fused_views: Where queries, keys and values are one projection, they are views of it.
        fused_attention: The family knows SDPA; else its attention is eager.
        dropout: The config's default drops hidden states and attention weights.
        names: Role to module name.
    """

    norm: Norm = "rms"
    norms: int = 2
    qk_norm: bool = False
    rope: bool = True
    activation: Activation = "silu"
    dropout: bool = False
    post_norm: bool = False
    fused_views: bool = True
    fused_attention: bool = True
    names: dict[Role, str] = field(default_factory=lambda: dict(LLAMA_NAMES))


_NEOX = Traits(names=_NEOX_NAMES, norm="layer", activation="gelu")
_BERT = Traits(
    names=_BERT_NAMES, norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True
)

#: Family traits read from the models' code in transformers; families that are not named here
#: follow Llama if they are gated decoders, else the nearest of GPT-NeoX and BERT.
_TRAITS: dict[str, Traits] = {
    "gemma": Traits(norm="rms_wide", activation="gelu"),
    "gemma2": Traits(norm="rms_wide", activation="gelu", norms=4),
    "gemma3": Traits(norm="rms_wide", activation="gelu", norms=4, qk_norm=True),
    "gemma3_text": Traits(norm="rms_wide", activation="gelu", norms=4, qk_norm=True),
    "qwen3": Traits(qk_norm=True),
    "qwen3_moe": Traits(qk_norm=True),
    "olmoe": Traits(qk_norm=True),
    "exaone4": Traits(qk_norm=True),
    "hunyuan_v1_dense": Traits(qk_norm=True),
    "olmo2": Traits(norm="rms_wide", qk_norm=True),
    "olmo3": Traits(norm="rms_wide", qk_norm=True),
    "cohere": Traits(norm="layer_wide", norms=1),
    "cohere2": Traits(norm="layer_wide", norms=1),
    "glm": Traits(names={**LLAMA_NAMES, "gate_up": "gate_up_proj"}),
    "glm4": Traits(names={**LLAMA_NAMES, "gate_up": "gate_up_proj"}, norms=4),
    "arcee": Traits(activation="relu"),
    "apertus": Traits(activation="relu", qk_norm=True),
    "nemotron": Traits(norm="layer", activation="relu"),
    "persimmon": Traits(names=_NEOX_NAMES, norm="layer", activation="relu", qk_norm=True),
    "codegen": Traits(
        names={"qkv": "qkv_proj", "o": "out_proj", "up": "fc_in", "down": "fc_out"},
        norm="layer", norms=1, activation="gelu_composed",
    ),
    "stablelm": Traits(norm="layer"),
    "phi3": Traits(
        names={"qkv": "qkv_proj", "o": "o_proj", "gate_up": "gate_up_proj", "down": "down_proj"}
    ),
    "phi": Traits(
        names={"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "dense", "up": "fc1",
               "down": "fc2"},
        norm="layer", norms=1, activation="gelu_composed",
    ),
    "starcoder2": Traits(
        names={"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj", "up": "c_fc",
               "down": "c_proj"},
        norm="layer", activation="gelu",
    ),
    "gpt2": Traits(
        names={"qkv": "c_attn", "o": "c_proj", "up": "c_fc", "down": "c_proj"},
        norm="layer", rope=False, activation="gelu_composed", dropout=True,
    ),
    "gpt_bigcode": Traits(
        names={"qkv": "c_attn", "o": "c_proj", "up": "c_fc", "down": "c_proj"},
        norm="layer", rope=False, activation="gelu", dropout=True,
    ),
    "mpt": Traits(
        names={"qkv": "Wqkv", "o": "out_proj", "up": "up_proj", "down": "down_proj"},
        norm="layer", rope=False, activation="gelu", fused_attention=False,
    ),
    "gptj": Traits(
        names={"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc_in",
               "down": "fc_out"},
        norm="layer", norms=1, activation="gelu_composed",
    ),
    "opt": Traits(
        names={"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc1",
               "down": "fc2"},
        norm="layer", rope=False, activation="relu", dropout=True,
    ),
    "gpt_neox": _NEOX,
    "falcon": Traits(
        names=_NEOX_NAMES, norm="layer", norms=1, activation="gelu", fused_views=False
    ),
    "bloom": Traits(
        names=_NEOX_NAMES, norm="layer", rope=False, activation="gelu", fused_attention=False
    ),
    "chatglm": Traits(names=_NEOX_NAMES),
    "baichuan": Traits(names={**LLAMA_NAMES, "qkv": "W_pack"}),
    # litgpt's own Llama, in which queries, keys and values are slices of one projection
    "litgpt": Traits(names={**LLAMA_NAMES, "qkv": "qkv"}),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": Traits(
        names={"q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin", "up": "lin1",
               "down": "lin2"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
    ),
    "mpnet": Traits(
        names={"q": "q", "k": "k", "v": "v", "o": "o", "up": "dense", "down": "dense"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
        fused_attention=False,
    ),
    "deberta-v2": Traits(
        names={"q": "query_proj", "k": "key_proj", "v": "value_proj", "o": "dense", "up": "dense",
               "down": "dense"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
        fused_attention=False,
    ),
    "modernbert": Traits(
        names={"qkv": "Wqkv", "o": "Wo", "gate_up": "Wi", "down": "Wo"},
        norm="layer", activation="gelu",
    ),
    "t5": Traits(
        names={"q": "q", "k": "k", "v": "v", "o": "o", "gate": "wi_0", "up": "wi_1", "down": "wo"},
        rope=False, activation="gelu_composed", dropout=True,
    ),
}  # fmt: skip


def traits(model: ModelFacts) -> Traits:
    """The traits of the model's family, or of the nearest one that is known."""
    known = _TRAITS.get(model.model_type)
    if known is not None:
        return known
    if model.kind == "encoder":
        return _BERT
    return Traits() if model.gated_mlp else _NEOX
