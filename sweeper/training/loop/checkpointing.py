"""The weights in a trial's checkpoints, and the check that training can continue from one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sweeper.errors import UsageError
from sweeper.training.checkpoints import MANIFEST, Checkpoint
from sweeper.training.loop.ranks_here import current_rank
from sweeper.trials import TrialConfig

log = logging.getLogger(__name__)

# Files of the trainable weights, and of the best rung's weights if that rung is an earlier one.
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"

# Values that are set in both configurations before they are compared: two attempts may differ in
# these fields.
_IGNORED_FIELDS = {"attempt": 1, "checkpoints": False, "keep_weights": False, "memory_note": ""}


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy in main memory of all trainable weights."""
    return {
        name: weight.detach().to("cpu", copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into the model's parameters of the same names."""
    named = dict(model.named_parameters())
    for name, weight in weights.items():
        named[name].data.copy_(weight)


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write copied weights as safetensors."""
    save_file({name: weight.contiguous() for name, weight in weights.items()}, str(path))


@dataclass(frozen=True)
class Saved:
    """A checkpoint that a trial continues from."""

    folder: Path
    manifest: Checkpoint

    @classmethod
    def at(cls, folder: Path) -> Saved:
        """The checkpoint in a folder."""
        return cls(folder, Checkpoint.read(folder / MANIFEST))

    def state(self) -> dict[str, Any]:
        """The saved state of this rank."""
        return dict(torch.load(self.folder / state_file(), weights_only=True))

    def best_weights(self) -> dict[str, Tensor]:
        """The weights of the best rung so far."""
        path = self.folder / BEST
        return dict(load_file(str(path if path.is_file() else self.folder / WEIGHTS)))


def open_checkpoint(folder: Path, config: TrialConfig, fingerprint: str) -> Saved | str:
    """The checkpoint in a folder, or the reason why training cannot continue from it.

    Args:
        folder: ``checkpoint-<rung>`` of an earlier attempt.
        config: Configuration to train.
    """
    try:
        saved = Saved.at(folder)
    except UsageError as error:
        return error.problems[0].what
    if damaged := saved.manifest.damaged_file(folder):
        return f"{damaged} is damaged"
    saved_config = saved.manifest.config
    if saved_config.model_copy(update=_IGNORED_FIELDS) != config.model_copy(update=_IGNORED_FIELDS):
        return "it belongs to another configuration"
    if saved.manifest.data_fingerprint != fingerprint:
        return "it was made with other data"
    return saved


def state_file() -> str:
    """The name of a checkpoint's file with this rank's state that Trainer does not save."""
    return f"sweeper_state_{current_rank()}.pt"
