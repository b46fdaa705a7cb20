"""Writes checkpoints of a trial at rungs, and checks whether one can be continued."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sweeper.checkpoints import (
    MANIFEST,
    UNFINISHED,
    Checkpoint,
    checkpoint_folder,
    drop_checkpoints,
    seal,
)
from sweeper.errors import UsageError
from sweeper.training.loop.device_memory import Batching, is_out_of_memory
from sweeper.training.loop.sharding import all_ranks_say, rank_here
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

    @property
    def batching(self) -> Batching:
        manifest = self.manifest
        micro, accumulation = manifest.micro_batch, manifest.gradient_accumulation_steps
        return Batching(micro, accumulation, manifest.evaluation_batch)

    def state(self) -> dict[str, Any]:
        """The saved state of this rank."""
        return dict(torch.load(self.folder / _state_file(), weights_only=True))

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


@dataclass
class Saver:
    """Writes checkpoints of one attempt; the newest one stays.

    All ranks of a trial call it at the same point.

    Args:
        write: The Trainer's own checkpoint, in a folder that it gives back.
        state: What else this rank has to keep: numbers, texts, lists and tensors.
        best_weights: Those of the best rung, where that is not the present one.
    """

    attempt: Path
    write: Callable[[], Path]
    state: Callable[[], dict[str, Any]]
    best_weights: Callable[[], dict[str, Tensor] | None]
    manifest: Callable[[int], Checkpoint]

    def save(self, rung: int) -> None:
        """Write the checkpoint of a rung. If it cannot be written, training goes on."""
        folder, failed = None, ""
        try:
            folder = self._written()
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            failed = str(error)
        said = [text for text in all_ranks_say(failed) if text]
        if rank_here() == 0:
            if folder is not None and not said:
                said = self._sealed(folder, rung)
            if said:
                log.warning("the checkpoint of rung %d could not be written: %s", rung, said[0])
                shutil.rmtree(self.attempt / UNFINISHED, ignore_errors=True)
        all_ranks_say("")  # before any of them writes the next one

    def _written(self) -> Path:
        folder = self.write()
        torch.save(self.state(), folder / _state_file())
        if rank_here() == 0 and (best := self.best_weights()) is not None:
            save_weights(best, folder / BEST)
        return folder

    def _sealed(self, folder: Path, rung: int) -> list[str]:
        try:
            seal(folder, self.manifest(rung), checkpoint_folder(self.attempt, rung))
        except OSError as error:
            return [str(error)]
        drop_checkpoints(self.attempt, keep=rung)
        return []


def _state_file() -> str:
    return f"sweeper_state_{rank_here()}.pt"
