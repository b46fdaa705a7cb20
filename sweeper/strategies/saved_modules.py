"""Modules of the base that are fully trained along with an adapter: PEFT's ``modules_to_save``.

PEFT trains a copy of each and leaves the base's module unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn

from sweeper.errors import ModelError, near_match
from sweeper.hyperparameters import saved_modules
from sweeper.spec import Scalar


def modules_to_save(model: nn.Module, parameters: dict[str, Scalar] | Any) -> list[str] | None:
    """The names for PEFT, or None if no module is fully trained.

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
                fix=near_match(
                    name,
                    {ending for ending in endings if not ending.isdigit()},
                ),
                code="unknown-module",
            )
    return list(names) or None


def is_tied(model: Any, names: list[str] | None) -> bool:
    """Whether one of the modules shares its weights with another; PEFT can keep them tied."""
    has_tied_embeddings = bool(
        getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    )
    has_output = model.get_output_embeddings() is not None
    last_parts = {name.rpartition(".")[2] for name in names or ()}
    return has_tied_embeddings and has_output and bool(last_parts & {"embed_tokens", "lm_head"})


def use_float32_copies(adapted: nn.Module) -> bool:
    """Convert the copies to float32, like other trained weights, and return whether there are any.

    Their outputs keep the base's dtype, so that the residual stream is not widened.
    """
    wrappers = [module for module in adapted.modules() if isinstance(module, ModulesToSaveWrapper)]
    for wrapper in wrappers:
        dtype = next(wrapper.original_module.parameters()).dtype
        if dtype != torch.float32:
            wrapper.modules_to_save.float()
            wrapper.register_forward_hook(_cast(dtype))
    return bool(wrappers)


def _cast(dtype: torch.dtype) -> Any:
    def cast(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(dtype)

    return cast


def load_in_float32(adapted: Any, folder: Path) -> None:
    """Reload the saved copies in float32, since PEFT has rounded them to the base's dtype."""
    if use_float32_copies(adapted):
        set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))


def restore_modules(adapted: nn.Module) -> None:
    """Restore the base's own modules, since PEFT's ``unload`` leaves the trained copies in it."""
    for name, module in [*adapted.named_modules()]:
        if isinstance(module, ModulesToSaveWrapper):
            adapted.set_submodule(name, module.original_module)
