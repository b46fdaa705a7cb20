"""The common model families, and the linear layers of a model by role, name and shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Literal

from sweeper.facts.record import ModelShape
from sweeper.hyperparameters import TARGETS, is_pattern, modules_of
from sweeper.resources import table

Kind = Literal["encoder", "decoder", "encoder-decoder"]
Flag = bool | str
"""True, False, or the name of the config field with the value."""

Role = Literal[
    "q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down",
    "q_a", "q_b", "kv_a", "kv_b", "shared_gate", "shared_up", "shared_down",
]  # fmt: skip
Names = Mapping[Role, str]
"""From the role of a linear layer to its module's name."""


@dataclass(frozen=True)
class Family:
    """One family of architectures; ``search_spaces/families.yaml`` explains the fields."""

    kind: Kind = "decoder"
    gated: bool = True
    norms: int = 2
    qk_norm: bool = False
    reserved_positions: int = 0
    parallel: Flag = False
    names: Names = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)


@cache
def families() -> Mapping[str, Family]:
    """From a model type to its family."""
    entries = table("families.yaml")
    names: dict[str, dict[Role, str]] = {"": {}}
    for name, roles in entries["names"].items():
        names[name] = {**names[roles.pop("like", "")], **roles}
    by_type = {"": Family(names=names["llama"])}
    for model_type, fields in entries["families"].items():
        by_type[model_type] = _family(by_type[fields.pop("like", "")], fields, names)
    del by_type[""]
    return by_type


def _family(base: Family, fields: dict[str, Any], names: Mapping[str, Names]) -> Family:
    defaults = {**base.defaults, **fields.pop("defaults", {})}
    if "tied" in fields:
        defaults["tie_word_embeddings"] = fields.pop("tied")
    if "names" in fields:
        fields["names"] = names[fields["names"]]
    return replace(base, **fields, defaults=defaults)


def family_like(model_type: str, kind: Kind, gated: bool) -> Family:
    """The family of a model type, or the nearest one for an unknown type."""
    nearest = "bert" if kind == "encoder" else "llama" if gated else "gpt_neox"
    return families().get(model_type) or families()[nearest]


def layer_names(*roles: Role) -> frozenset[str]:
    """The names of layers with these roles in all families."""
    layer_name = (family.names.get(role) for family in families().values() for role in roles)
    return frozenset(name for name in layer_name if name is not None)


HYBRIDS = frozenset({
    "bamba", "falcon_h1", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe",
    "minimax", "nemotron_h", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text",
    "qwen3_next", "recurrent_gemma", "zamba", "zamba2",
})  # fmt: skip
"""Model types with attention in some layers only. Their other layers are state spaces, recurrences
or convolutions."""

WITHOUT_ATTENTION = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})
"""Model types that are not transformers; they are refused."""


@dataclass(frozen=True, slots=True)
class LinearLayers:
    """A kind of linear layer with ``inputs x outputs`` weights, ``count`` times in the model."""

    role: Role
    name: str
    inputs: int
    outputs: int
    count: int

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs * self.count


def _family_names(model: ModelShape) -> Names:
    return family_like(model.model_type, model.kind, model.gated_mlp).names


def _attention(model: ModelShape, names: Names) -> Iterable[tuple[Role, int, int]]:
    """Role, inputs and outputs of each linear layer of an attention block."""
    hidden = model.hidden_size
    query = model.attention_heads * model.head_dim
    key = model.key_value_heads * model.head_dim
    if model.mla is not None:
        mla, heads = model.mla, model.attention_heads
        query = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        if mla.q_lora_rank:
            yield "q_a", hidden, mla.q_lora_rank
            yield "q_b", mla.q_lora_rank, query
        else:
            yield "q", hidden, query
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


def _mlp(model: ModelShape, names: Names) -> Iterable[tuple[Role, int, int]]:
    """Role, inputs and outputs of each linear layer of a feed-forward block."""
    hidden, width = model.hidden_size, model.intermediate_size
    if model.gated_mlp and "gate_up" in names:
        yield "gate_up", hidden, 2 * width
    else:
        if model.gated_mlp:
            yield "gate", hidden, width
        yield "up", hidden, width
    yield "down", width, hidden


@lru_cache(maxsize=256)
def linears(model: ModelShape, experts: bool = False) -> tuple[LinearLayers, ...]:
    """All linear layers of the blocks.

    Cross-attention counts as a second attention of the decoder's layers.

    Args:
        experts: Whether routed experts are included as linear layers, as before transformers 5;
            since then their weights are stacked into one parameter.
    """
    names = _family_names(model)
    blocks = model.layers * (2 if model.kind == "encoder-decoder" else 1)
    dense = model.layers - model.moe.layers if model.moe else blocks
    attentions = blocks + (model.layers if model.kind == "encoder-decoder" else 0)
    shapes = [(*layer, attentions) for layer in _attention(model, names)]
    if dense:
        shapes += [(*layer, dense) for layer in _mlp(model, names)]
    if model.moe and experts:
        expert = model.model_copy(update={"intermediate_size": model.moe.intermediate_size})
        copies = model.moe.layers * model.moe.experts
        shapes += [(*layer, copies) for layer in _mlp(expert, names)]
    if model.moe and model.moe.shared_intermediate_size:
        hidden, width = model.hidden_size, model.moe.shared_intermediate_size
        sparse = model.moe.layers
        shapes += [
            ("shared_gate", hidden, width, sparse),
            ("shared_up", hidden, width, sparse),
            ("shared_down", width, hidden, sparse),
        ]
    usual = families()["llama"].names
    return tuple(
        LinearLayers(role, names.get(role) or usual.get(role, role), inputs, outputs, count)
        for role, inputs, outputs, count in shapes
    )


def expert_parameters(model: ModelShape) -> int:
    """Weights of all routed experts."""
    if model.moe is None:
        return 0
    matrices = 3 if model.gated_mlp else 2
    each = matrices * model.hidden_size * model.moe.intermediate_size
    return model.moe.layers * model.moe.experts * each


def embedding_parameters(model: ModelShape) -> int:
    """Weights of the token embedding, and of the output head unless it is tied."""
    tables = 1 if model.tied_embeddings or model.kind == "encoder" else 2
    return tables * model.vocabulary_size * model.hidden_size


def parameters_of(model: ModelShape) -> int:
    """About the number of parameters of a shape: linear layers and embeddings.

    Positions, norms and biases are left out: 2% of an encoder at most, less of a decoder.
    """
    inside = sum(linear.parameters for linear in linears(model)) + expert_parameters(model)
    return inside + embedding_parameters(model)


#: Names of Mixtral's expert layers, which were linear layers before transformers 5.
_MIXTRAL_NAMES: dict[Role, str] = {"gate": "w1", "up": "w3", "down": "w2"}
#: From a word in ``target_modules`` to the roles that it selects.
_ROLES_BY_WORD: dict[str, frozenset[Role]] = {
    "query": frozenset({"q", "q_b"}),
    "key": frozenset({"k"}),
    "value": frozenset({"v"}),
    "qkv": frozenset({"q", "k", "v"}),
    "projection": frozenset({"o"}),
    "gate": frozenset({"gate", "gate_up"}),
    "up": frozenset({"up", "gate_up"}),
    "down": frozenset({"down"}),
    "output_proj": frozenset({"o"}),
    "mlp": frozenset({"gate", "up", "gate_up", "down"}),
    "attention": frozenset({"q", "k", "v", "qkv", "o", "q_a", "q_b", "kv_a", "kv_b"}),
}


def generic_targets() -> tuple[str, ...]:
    """Words in ``target_modules`` with one meaning in all families, such as ``attention``."""
    return ("all-linear", *_ROLES_BY_WORD)


def targeted(
    model: ModelShape, target_modules: tuple[str, ...] | str, experts: bool = False
) -> tuple[LinearLayers, ...]:
    """The linear layers that ``target_modules`` selects, by module names or words for roles.

    Words: ``all-linear``, ``attention``, ``mlp``, ``query``, ``key``, ``value``, ``qkv``,
    ``projection``, ``output_proj``, ``gate``, ``up``, ``down``. Names of another family's layout
    are understood by their role. A single string may be a pattern that matches whole names. If
    nothing matches in an unknown family, all layers are selected.
    """
    available = linears(model, experts)
    if isinstance(target_modules, str) and is_pattern(target_modules):
        return matching(model, target_modules, experts)
    wanted = (target_modules,) if isinstance(target_modules, str) else target_modules
    wanted = tuple(word.rpartition(".")[2] for word in wanted)
    if "all-linear" in wanted:
        return available
    usual = families()["llama"].names
    by_name = {
        name: role
        for family in (usual, _MIXTRAL_NAMES, _family_names(model))
        for role, name in family.items()
    }
    roles: set[str] = set()
    names: set[str] = set()
    for word in wanted:
        names.add(word)
        roles |= _ROLES_BY_WORD.get(word, set())
        if word not in {linear.name for linear in available} and word in by_name:
            roles.add(by_name[word])
    fused = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up", "up": "gate_up"}
    roles |= {fused[role] for role in roles if role in fused}
    chosen = tuple(layer for layer in available if layer.name in names or layer.role in roles)
    return chosen if chosen or not wanted or names_known(model) else available


#: Possible paths of the blocks in a model, and of linear layers' parents in a block.
_BLOCKS = (
    "model.layers", "layers", "encoder.layer", "transformer.h", "h", "gpt_neox.layers",
    "model.decoder.layers", "decoder.layers", "transformer.layer", "transformer.blocks", "blocks",
    "model.language_model.layers", "language_model.model.layers",
)  # fmt: skip
_ATTENTION_PARENTS = (
    "self_attn.", "attention.self.", "attention.output.", "attn.", "attention.",
    "self_attention.", "",
)  # fmt: skip
_MLP_PARENTS = ("mlp.", "intermediate.", "output.", "feed_forward.", "ffn.", "")


def matching(model: ModelShape, pattern: str, experts: bool = False) -> tuple[LinearLayers, ...]:
    """The linear layers whose whole names match a regular expression, as far as names are known.

    If the pattern mentions a layer's name but matches no usual whole name, the layer counts in all
    blocks. If nothing matches and names are unknown, all layers count. In both cases, estimates of
    memory are rather too high than too low.
    """
    matches = []
    for linear in linears(model, experts):
        blocks = sum(
            any(re.fullmatch(pattern, name) for name in _possible_names(linear, block))
            for block in range(model.layers)
        )
        if not blocks and re.search(rf"(?<!\w){re.escape(linear.name)}(?!\w)", pattern):
            blocks = model.layers
        if blocks:
            matches.append(replace(linear, count=max(1, linear.count * blocks // model.layers)))
    return tuple(matches) if matches or names_known(model) else linears(model, experts)


def _possible_names(linear: LinearLayers, block: int) -> Iterable[str]:
    in_attention = linear.role in _ROLES_BY_WORD["attention"]
    for parent in _ATTENTION_PARENTS if in_attention else _MLP_PARENTS:
        for blocks in _BLOCKS:
            yield f"{blocks}.{block}.{parent}{linear.name}"


def names_known(model: ModelShape) -> bool:
    """Whether the module names of the model's own family are known."""
    return model.model_type in families()


def layer_names_of(model: ModelShape) -> tuple[str, ...]:
    """The names of the linear layers of the model's blocks."""
    return tuple(dict.fromkeys(linear.name for linear in linears(model)))


def missing_targets(model: ModelShape, choice: str) -> tuple[str, ...]:
    """The names in a choice of ``target_modules`` for which the model has no linear layer."""
    wanted = modules_of(choice)
    if is_pattern(choice):
        return () if matching(model, choice) else (choice,)
    if choice in TARGETS or not names_known(model):
        return ()
    names = layer_names_of(model)
    return tuple(name for name in wanted if name.rpartition(".")[2] not in names)


#: Names of token embeddings by family, where they are not ``embed_tokens`` in a decoder or
#: ``word_embeddings`` in an encoder.
_EMBEDDING_NAMES = {
    "gpt2": "wte", "gpt_bigcode": "wte", "gptj": "wte", "codegen": "wte", "mpt": "wte",
    "gpt_neox": "embed_in", "falcon": "word_embeddings", "bloom": "word_embeddings",
    "modernbert": "tok_embeddings", "eurobert": "embed_tokens", "t5": "shared",
}  # fmt: skip


def savable_modules(model: ModelShape, new_head: bool) -> dict[str, int]:
    """Modules that can be fully trained along with an adapter, by name, with their total numbers
    of weights.

    Args:
        new_head: Whether the model is used without its output layer.
    """
    embedding = model.vocabulary_size * model.hidden_size
    usual = "word_embeddings" if model.kind == "encoder" else "embed_tokens"
    sizes = {_EMBEDDING_NAMES.get(model.model_type, usual): embedding}
    if model.kind != "encoder" and not new_head:
        sizes["embed_out" if model.model_type == "gpt_neox" else "lm_head"] = embedding
    for linear in linears(model):
        sizes[linear.name] = sizes.get(linear.name, 0) + linear.parameters
    return sizes


def saved_parameters(model: ModelShape, names: Iterable[str], new_head: bool) -> int:
    """Weights of the fully trained modules; tied embeddings and output layer count once.

    An unknown name counts as the embeddings, the largest module.
    """
    available = savable_modules(model, new_head)
    embedding = model.vocabulary_size * model.hidden_size
    wanted = {name.rpartition(".")[2] for name in names}
    sizes = [available.get(name, embedding) for name in wanted]
    embeddings = sizes.count(embedding)
    if model.tied_embeddings and embeddings > 1:
        return sum(sizes) - (embeddings - 1) * embedding
    return sum(sizes)
