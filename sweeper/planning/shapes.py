"""The linear layers of a model by role, name and shape, from its facts; and family traits.

Names are those of the modules in transformers, because PEFT's ``target_modules`` refer to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sweeper.facts.record import ModelFacts

Role = Literal[
    "q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down",
    "q_a", "q_b", "kv_a", "kv_b", "shared_gate", "shared_up", "shared_down",
]  # fmt: skip
Norm = Literal["rms", "rms_wide", "layer", "layer_wide"]
Activation = Literal["silu", "gelu", "gelu_composed", "relu"]

_LLAMA_NAMES: dict[Role, str] = {
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
    names: dict[Role, str] = field(default_factory=lambda: dict(_LLAMA_NAMES))


def _llama(**changes: object) -> Traits:
    return Traits(**changes)  # type: ignore[arg-type]


def _named(names: dict[Role, str], **changes: object) -> Traits:
    return Traits(names=names, **changes)  # type: ignore[arg-type]


_NEOX = _named(_NEOX_NAMES, norm="layer", activation="gelu")
_BERT = _named(
    _BERT_NAMES, norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True
)

#: Family traits read from the models' code in transformers; families that are not named here
#: follow Llama if they are gated decoders, else the nearest of GPT-NeoX and BERT.
_TRAITS: dict[str, Traits] = {
    "gemma": _llama(norm="rms_wide", activation="gelu"),
    "gemma2": _llama(norm="rms_wide", activation="gelu", norms=4),
    "gemma3": _llama(norm="rms_wide", activation="gelu", norms=4, qk_norm=True),
    "gemma3_text": _llama(norm="rms_wide", activation="gelu", norms=4, qk_norm=True),
    "qwen3": _llama(qk_norm=True),
    "qwen3_moe": _llama(qk_norm=True),
    "olmo2": _llama(norm="rms_wide", qk_norm=True),
    "cohere": _llama(norm="layer_wide", norms=1),
    "stablelm": _llama(norm="layer"),
    "phi3": _named(
        {"qkv": "qkv_proj", "o": "o_proj", "gate_up": "gate_up_proj", "down": "down_proj"}
    ),
    "phi": _named(
        {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "dense", "up": "fc1", "down": "fc2"},
        norm="layer", norms=1, activation="gelu_composed",
    ),
    "starcoder2": _named(
        {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj", "up": "c_fc",
         "down": "c_proj"},
        norm="layer", activation="gelu",
    ),
    "gpt2": _named(
        {"qkv": "c_attn", "o": "c_proj", "up": "c_fc", "down": "c_proj"},
        norm="layer", rope=False, activation="gelu_composed", dropout=True,
    ),
    "gptj": _named(
        {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc_in",
         "down": "fc_out"},
        norm="layer", norms=1, activation="gelu_composed",
    ),
    "opt": _named(
        {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc1",
         "down": "fc2"},
        norm="layer", rope=False, activation="relu", dropout=True,
    ),
    "gpt_neox": _NEOX,
    "falcon": _named(
        _NEOX_NAMES, norm="layer", norms=1, activation="gelu", fused_views=False
    ),
    "bloom": _named(
        _NEOX_NAMES, norm="layer", rope=False, activation="gelu", fused_attention=False
    ),
    "chatglm": _named(_NEOX_NAMES),
    "baichuan": _named({**_LLAMA_NAMES, "qkv": "W_pack"}),
    # litgpt's own Llama, in which queries, keys and values are slices of one projection
    "litgpt": _named({**_LLAMA_NAMES, "qkv": "qkv"}),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": _named(
        {"q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin", "up": "lin1", "down": "lin2"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
    ),
    "mpnet": _named(
        {"q": "q", "k": "k", "v": "v", "o": "o", "up": "dense", "down": "dense"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
        fused_attention=False,
    ),
    "deberta-v2": _named(
        {"q": "query_proj", "k": "key_proj", "v": "value_proj", "o": "dense", "up": "dense",
         "down": "dense"},
        norm="layer", rope=False, activation="gelu", dropout=True, post_norm=True,
        fused_attention=False,
    ),
    "modernbert": _named(
        {"qkv": "Wqkv", "o": "Wo", "gate_up": "Wi", "down": "Wo"},
        norm="layer", activation="gelu",
    ),
    "t5": _named(
        {"q": "q", "k": "k", "v": "v", "o": "o", "gate": "wi_0", "up": "wi_1", "down": "wo"},
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


@dataclass(frozen=True, slots=True)
class Linear:
    """A kind of linear layer: ``count`` of them in the whole model, weights of in x out."""

    role: Role
    name: str
    inputs: int
    outputs: int
    count: int

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs * self.count


def _attention(model: ModelFacts, names: dict[Role, str]) -> Iterable[tuple[Role, int, int]]:
    hidden = model.hidden_size
    query = model.attention_heads * model.head_dim
    key = model.key_value_heads * model.head_dim
    if model.mla is not None:
        mla, heads = model.mla, model.attention_heads
        wide = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        if mla.q_lora_rank:
            yield "q_a", hidden, mla.q_lora_rank
            yield "q_b", mla.q_lora_rank, wide
        else:
            yield "q", hidden, wide
        yield "kv_a", hidden, mla.kv_lora_rank + mla.qk_rope_head_dim
        yield "kv_b", mla.kv_lora_rank, heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        yield "o", heads * mla.v_head_dim, hidden
        return
    if "qkv" in names:
        yield "qkv", hidden, query + 2 * key
    else:
        yield "q", hidden, query
        yield "k", hidden, key
        yield "v", hidden, key
    yield "o", query, hidden


def _mlp(model: ModelFacts, names: dict[Role, str]) -> Iterable[tuple[Role, int, int]]:
    hidden, wide = model.hidden_size, model.intermediate_size
    if model.gated_mlp and "gate_up" in names:
        yield "gate_up", hidden, 2 * wide
    else:
        if model.gated_mlp:
            yield "gate", hidden, wide
        yield "up", hidden, wide
    yield "down", wide, hidden


def linears(model: ModelFacts) -> tuple[Linear, ...]:
    """All linear layers of the blocks except routed experts, whose weights are stacked.

    A model with cross-attention counts it as a second attention of the decoder's layers.
    """
    names = traits(model).names
    fallback = _LLAMA_NAMES
    blocks = model.layers * (2 if model.kind == "encoder-decoder" else 1)
    dense = model.layers - model.moe.layers if model.moe else blocks
    attentions = blocks + (model.layers if model.kind == "encoder-decoder" else 0)
    found: list[tuple[Role, int, int, int]] = [
        (role, a, b, attentions) for role, a, b in _attention(model, names)
    ]
    if dense:
        found += [(role, a, b, dense) for role, a, b in _mlp(model, names)]
    if model.moe and model.moe.shared_intermediate_size:
        hidden, wide = model.hidden_size, model.moe.shared_intermediate_size
        sparse = model.moe.layers
        found += [
            ("shared_gate", hidden, wide, sparse),
            ("shared_up", hidden, wide, sparse),
            ("shared_down", wide, hidden, sparse),
        ]
    return tuple(
        Linear(role, names.get(role) or fallback.get(role, role), a, b, count)
        for role, a, b, count in found
    )


def expert_parameters(model: ModelFacts) -> int:
    """Weights of all routed experts."""
    if model.moe is None:
        return 0
    matrices = 3 if model.gated_mlp else 2
    each = matrices * model.hidden_size * model.moe.intermediate_size
    return model.moe.layers * model.moe.experts * each


def embedding_parameters(model: ModelFacts) -> int:
    """Weights of the token embedding; the output head's too unless they are tied."""
    tables = 1 if model.tied_embeddings or model.kind == "encoder" else 2
    return tables * model.vocabulary_size * model.hidden_size


def active_parameters(model: ModelFacts) -> int:
    """Weights that one token passes through, the output head included, the embedding not."""
    experts = expert_parameters(model)
    active = sum(linear.parameters for linear in linears(model))
    if model.moe is not None:
        active += experts * model.moe.experts_per_token // model.moe.experts
    head = 0 if model.kind == "encoder" else model.vocabulary_size * model.hidden_size
    return active + head


_GENERIC: dict[str, frozenset[Role]] = {
    "query": frozenset({"q", "q_b"}),
    "key": frozenset({"k"}),
    "value": frozenset({"v"}),
    "qkv": frozenset({"q", "k", "v"}),
    "projection": frozenset({"o"}),
    "output_proj": frozenset({"o"}),
    "mlp": frozenset({"gate", "up", "gate_up", "down"}),
    "attention": frozenset({"q", "k", "v", "qkv", "o", "q_a", "q_b", "kv_a", "kv_b"}),
}


def words() -> tuple[str, ...]:
    """Words that stand for roles in ``target_modules``, whatever the family calls them."""
    return ("all-linear", *_GENERIC)


def targeted(model: ModelFacts, target_modules: tuple[str, ...] | str) -> tuple[Linear, ...]:
    """The linear layers that ``target_modules`` names: module names, or words for a role.

    Words: ``all-linear``, ``attention``, ``mlp``, ``query``, ``key``, ``value``, ``qkv``,
    ``projection``. Names of another family's layout are understood by their role.
    """
    available = linears(model)
    wanted = (target_modules,) if isinstance(target_modules, str) else target_modules
    if "all-linear" in wanted:
        return available
    by_name = {name: role for role, name in _LLAMA_NAMES.items()} | {
        name: role for role, name in traits(model).names.items()
    }
    roles: set[str] = set()
    names: set[str] = set()
    for word in wanted:
        names.add(word)
        roles |= _GENERIC.get(word, set())
        if word not in {linear.name for linear in available} and word in by_name:
            roles.add(by_name[word])
    fused = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up", "up": "gate_up"}
    roles |= {fused[role] for role in roles if role in fused}
    return tuple(linear for linear in available if linear.name in names or linear.role in roles)
