"""Which layers of a base model an adapter goes to, on any architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn
from transformers.pytorch_utils import Conv1D

from sweeper.errors import ModelError
from sweeper.facts.models.families import layer_names
from sweeper.hyperparameters import is_pattern

# Beside what families call them, a few models use w; a fused projection holds query, key and value.
_QUERY = layer_names("q", "q_b") | {"wq"}
_KEY = layer_names("k", "kv_b") | {"wk"}
_VALUE = layer_names("v", "kv_b") | {"wv"}
_FUSED = layer_names("qkv")
_OUTPUT = layer_names("o") | {"wo"}

GROUPS: dict[str, frozenset[str]] = {
    "qv": _QUERY | _VALUE | _FUSED,
    "qkvo": _QUERY | _KEY | _VALUE | _FUSED | _OUTPUT,
}
ALL_LINEAR = "all-linear"
_ATTENTION = {
    "query": _QUERY | _FUSED,
    "key": _KEY | _FUSED,
    "value": _VALUE | _FUSED,
    "projection": _OUTPUT,
}

_LAYER_NUMBER = re.compile(r"(^|\.)\d+\.")


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers inside the repeated blocks, by full name.

    Embeddings, a pooler and the output layer lie outside of the blocks and are left out.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and _LAYER_NUMBER.search(name)
    }


def _in_attention(name: str) -> bool:
    return any("attn" in part or "attention" in part.lower() for part in name.split(".")[:-1])


def _shortest_suffixes(chosen: Iterable[str], others: Iterable[str]) -> list[str]:
    """The shortest endings that match every chosen name and no other one, as PEFT matches them."""
    rest = [f".{name}" for name in others]
    endings: set[str] = set()
    for name in chosen:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            ending = ".".join(parts[-length:])
            if length == len(parts) or not any(other.endswith(f".{ending}") for other in rest):
                endings.add(ending)
                break
    return sorted(endings)


def target_modules(model: nn.Module, wish: str) -> list[str]:
    """The names to give PEFT as ``target_modules``.

    Where query, key and value are one fused layer, ``qv`` means that layer: it cannot be split.

    Args:
        wish: ``qv``, ``qkvo``, ``all-linear``, module names with commas between them, or a regular
            expression over whole names, as PEFT matches one.

    Returns:
        Endings of module names, sorted; the same for all layers of a usual architecture.

    Raises:
        ModelError: The model has no such layers.
    """
    layers = linear_layers(model)
    if wish == ALL_LINEAR:
        chosen = list(layers)
    elif wish in GROUPS:
        names = GROUPS[wish]
        chosen = [n for n in layers if n.rpartition(".")[2] in names and _in_attention(n)]
    elif is_pattern(wish):
        chosen = [name for name in layers if re.fullmatch(wish, name)]
    else:
        asked = [name.strip() for name in wish.split(",")]
        chosen = [n for n in layers if any(f".{n}".endswith(f".{name}") for name in asked)]
    if not chosen:
        kinds = sorted({name.rpartition(".")[2] for name in layers})
        raise ModelError(
            f"target_modules = {wish!r}: {type(model).__name__} has no such layers",
            why=f"Its linear layers are {', '.join(kinds) or 'nothing that is known'}.",
            fix="Use all-linear, or name some of these layers with commas between them.",
            code="unknown-module",
        )
    return _shortest_suffixes(chosen, set(dict(model.named_modules())) - set(chosen))


def role_modules(model: nn.Module, roles: Iterable[str]) -> list[str]:
    """The names of linear layers that do something, to give PEFT as ``target_modules``.

    Where query, key and value are one fused layer, each of them means that layer.

    Args:
        roles: ``query``, ``key``, ``value``, ``projection``; outside of attention ``down``, the
            layer that a feed-forward part ends with.

    Returns:
        Endings of module names, sorted.

    Raises:
        ModelError: The model has no such layers.
    """
    width = int(model.config.get_text_config().hidden_size)
    wanted = list(roles)
    names = frozenset().union(*(_ATTENTION.get(role, ()) for role in wanted))

    def is_wanted(name: str, layer: nn.Module) -> bool:
        if _in_attention(name):
            return name.rpartition(".")[2] in names
        sides = set(layer.weight.shape)
        outputs = layer.weight.shape[1 if isinstance(layer, Conv1D) else 0]
        return "down" in wanted and outputs == width and len(sides) == 2

    chosen = [name for name, layer in linear_layers(model).items() if is_wanted(name, layer)]
    if not chosen:
        raise ModelError(f"{type(model).__name__} has no layers for {', '.join(wanted)}")
    return _shortest_suffixes(chosen, set(dict(model.named_modules())) - set(chosen))


def needs_transpose(model: nn.Module, targets: Iterable[str]) -> bool:
    """Whether the targets are GPT-2's Conv1D, which stores its weight transposed."""
    endings = [f".{target}" for target in targets]
    return any(
        isinstance(module, Conv1D) and any(f".{name}".endswith(end) for end in endings)
        for name, module in model.named_modules()
    )
