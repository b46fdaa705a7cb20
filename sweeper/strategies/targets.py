"""Finds the base model's modules that get an adapter or are trained whole, on any architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sweeper.errors import ModelError, near_match
from sweeper.facts.models.linear_layers import layer_names
from sweeper.hyperparameters import is_pattern, saved_modules
from sweeper.spec import Scalar

# Names of projections in the families of models (families.yaml) and in a few other models. A fused
# projection computes query, key and value at once.
_QUERY = layer_names("q", "q_b") | {"wq"}
_KEY = layer_names("k", "kv_b") | {"wk"}
_VALUE = layer_names("v", "kv_b") | {"wv"}
_FUSED = layer_names("qkv")
_OUTPUT = layer_names("o") | {"wo"}

# From a choice of ``target_modules`` to the names of its layers.
GROUPS: dict[str, frozenset[str]] = {
    "qv": _QUERY | _VALUE | _FUSED,
    "qkvo": _QUERY | _KEY | _VALUE | _FUSED | _OUTPUT,
}
ALL_LINEAR = "all-linear"
_LAYER_NUMBER = re.compile(r"(^|\.)\d+\.")


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers inside the repeated blocks, by full name.

    Embeddings, a pooler and the output layer are outside of the blocks and not included.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and _LAYER_NUMBER.search(name)
    }


def _in_attention(name: str) -> bool:
    """Whether a module is inside an attention module, by the names of its parents."""
    return any("attn" in part or "attention" in part.lower() for part in name.split(".")[:-1])


def _shortest_endings(chosen: Iterable[str], others: Iterable[str]) -> list[str]:
    """The shortest endings that match all chosen names and no others, as PEFT matches endings."""
    other_names = [f".{name}" for name in others]

    def is_unique(ending: str) -> bool:
        return not any(other.endswith(f".{ending}") for other in other_names)

    endings: set[str] = set()
    for name in chosen:
        parts = name.split(".")
        candidates = (".".join(parts[-length:]) for length in range(1, len(parts)))
        endings.add(next(filter(is_unique, candidates), name))
    return sorted(endings)


def target_modules(model: nn.Module, choice: str) -> list[str]:
    """The names to pass to PEFT as ``target_modules``.

    If query, key and value are one fused layer, ``qv`` means that layer: it cannot be split.

    Args:
        choice: ``qv``, ``qkvo``, ``all-linear``, module names separated by commas, or a regular
            expression that matches whole names, as in PEFT.

    Returns:
        Sorted endings of module names, mostly the same in all layers.

    Raises:
        ModelError: The model has no such layers.
    """
    layers = linear_layers(model)
    if choice == ALL_LINEAR:
        chosen = list(layers)
    elif choice in GROUPS:
        names = GROUPS[choice]
        chosen = [n for n in layers if n.rpartition(".")[2] in names and _in_attention(n)]
    elif is_pattern(choice):
        chosen = [name for name in layers if re.fullmatch(choice, name)]
    else:
        wanted = [name.strip() for name in choice.split(",")]
        chosen = [n for n in layers if any(f".{n}".endswith(f".{name}") for name in wanted)]
    if not chosen:
        kinds = sorted({name.rpartition(".")[2] for name in layers})
        raise ModelError(
            f"target_modules = {choice!r}: {type(model).__name__} has no such layers",
            why=f"Its linear layers are {', '.join(kinds)}." if kinds else "None were found in it.",
            fix="Use all-linear, or name some of these layers with commas between them.",
            code="unknown-module",
        )
    return _shortest_endings(chosen, set(dict(model.named_modules())) - set(chosen))


def needs_transpose(model: nn.Module, targets: Iterable[str]) -> bool:
    """Whether the targets are GPT-2's Conv1D, which stores its weight transposed."""
    endings = [f".{target}" for target in targets]
    return any(
        isinstance(module, Conv1D) and any(f".{name}".endswith(end) for end in endings)
        for name, module in model.named_modules()
    )


def modules_to_save(model: nn.Module, parameters: Mapping[str, Scalar]) -> list[str] | None:
    """The names to pass to PEFT as ``modules_to_save``; None if no module is trained whole.

    Raises:
        ModelError: The model has no module of that name.
    """
    names = saved_modules(parameters)
    modules = dict(model.named_modules())
    for name in names:
        if not any(f".{full}".endswith(f".{name}") for full in modules):
            endings = {full.rpartition(".")[2] for full in modules} - {""}
            raise ModelError(
                f"modules_to_save = {name!r}: {type(model).__name__} has no such module",
                fix=near_match(name, {ending for ending in endings if not ending.isdigit()}),
                code="unknown-module",
            )
    return list(names) or None


def is_tied(model: Any, names: list[str] | None) -> bool:
    """Whether a module to save shares its weights with another; PEFT can keep them tied.

    Args:
        names: The ``modules_to_save``.
    """
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return False
    endings = {name.rpartition(".")[2] for name in names or ()}
    return model.get_output_embeddings() is not None and bool(endings & {"embed_tokens", "lm_head"})


def use_float32_copies(adapted: nn.Module) -> bool:
    """Convert the copies of ``modules_to_save`` to float32, and return whether there are any.

    PEFT trains these copies in place of the base's own modules. Their outputs keep the base's
    dtype, so the dtype of the residual stream does not change.
    """
    wrappers = [module for module in adapted.modules() if isinstance(module, ModulesToSaveWrapper)]
    for wrapper in wrappers:
        dtype = next(wrapper.original_module.parameters()).dtype
        if dtype != torch.float32:
            wrapper.modules_to_save.float()
            wrapper.register_forward_hook(_cast(dtype))
    return bool(wrappers)


def _cast(dtype: torch.dtype) -> Any:
    """A forward hook that casts a module's output."""

    def cast(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(dtype)

    return cast


def load_in_float32(adapted: Any, folder: Path) -> None:
    """Reload the trained copies of ``modules_to_save`` in float32, as PEFT has rounded them."""
    if use_float32_copies(adapted):
        set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))


def restore_modules(adapted: nn.Module) -> None:
    """Restore the base's own modules, since PEFT's ``unload`` leaves the trained copies in it."""
    for name, module in [*adapted.named_modules()]:
        if isinstance(module, ModulesToSaveWrapper):
            adapted.set_submodule(name, module.original_module)
