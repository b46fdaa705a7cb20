"""The common model families, from ``search_spaces/families.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from sweeper.resources import table

Kind = Literal["encoder", "decoder", "encoder-decoder"]
Flag = bool | str
"""True, False, or the name of the config field with the value."""

Role = Literal[
    "q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down",
    "q_a", "q_b", "kv_a", "kv_b", "shared_gate", "shared_up", "shared_down",
]  # fmt: skip
Names = Mapping[Role, str]


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
    """Model type to its family."""
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
"""Families with attention in some layers; others are state spaces, recurrences, convolutions."""

WITHOUT_ATTENTION = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})
"""Model types that are not transformers; they are refused."""
