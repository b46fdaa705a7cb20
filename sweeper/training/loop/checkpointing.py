"""The weights in checkpoints of a trial, and whether a checkpoint can be continued."""

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
from sweeper.training.loop.ranks_here import rank_here
from sweeper.trials import TrialConfig

log = logging.getLogger(__name__)

# Weights that train, and those of the best rung where that is an earlier one.
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"

# What may differ between two attempts at the same configuration.
_FREE = {"attempt": 1, "checkpoints": False, "keep_weights": False, "memory_note": ""}


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy in main memory of everything that trains."""
    return {
        name: weight.detach().to("cpu", copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put copied weights back."""
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
        return cls(folder, Checkpoint.read(folder / MANIFEST))

    def state(self) -> dict[str, Any]:
        """The saved state of this rank."""
        return dict(torch.load(self.folder / state_file(), weights_only=True))

    def best_weights(self) -> dict[str, Tensor]:
        path = self.folder / BEST
        return dict(load_file(str(path if path.is_file() else self.folder / WEIGHTS)))


def usable(folder: Path, config: TrialConfig, fingerprint: str) -> Saved | str:
    """The checkpoint in a folder, or the reason why it cannot be used.

    Args:
        folder: ``checkpoint-<rung>`` of an earlier attempt.
        config: Configuration to train.
    """
    try:
        saved = Saved.at(folder)
    except UsageError as error:
        return error.problems[0].what
    if damaged := saved.manifest.damaged(folder):
        return f"{damaged} is damaged"
    made_for = saved.manifest.config
    if made_for.model_copy(update=_FREE) != config.model_copy(update=_FREE):
        return "it belongs to another configuration"
    if saved.manifest.data_fingerprint != fingerprint:
        return "it was made with other data"
    return saved


def state_file() -> str:
    """The file in a checkpoint with the state of this rank that the Trainer does not keep."""
    return f"sweeper_state_{rank_here()}.pt"
