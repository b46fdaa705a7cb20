"""The progress of a trial: steps, tokens, mean loss and seconds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class TrainingDiverged(Exception):
    """A loss or a gradient is no longer finite."""


@dataclass
class TrainingProgress:
    """The counts and seconds of one training.

    Args:
        check_every: Optimizer steps between two checks of the loss; on a GPU a check waits for
            the device.
        seen: Rows and tokens trained on, by source.
        earlier_seconds: Training time before this object was made.
        interrupted: Seconds of the earlier attempts that are continued, evaluation included.
    """

    check_every: int = 1
    steps: int = 0
    tokens: int = 0
    seen: dict[str, list[int]] = field(default_factory=dict)
    earlier_seconds: float = 0.0
    interrupted: float = 0.0
    evaluation_seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _loss: Tensor | None = None
    _norm: Tensor | None = None
    _terms: int = 0

    def state(self) -> dict[str, Any]:
        """All counts at a rung, except the training loss, which the rung's report has taken."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "seen": {name: list(counts) for name, counts in self.seen.items()},
            "interrupted": self.training_seconds + self.evaluation_seconds,
            "evaluation_seconds": self.evaluation_seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Set the counts of an earlier attempt."""
        for name, value in state.items():
            setattr(self, name, value)

    def add(self, loss_sum: Tensor, terms: int, tokens: int) -> None:
        """Add a micro-batch: its summed loss, and its numbers of loss terms and tokens."""
        loss = loss_sum.detach().double()
        self._loss = loss if self._loss is None else self._loss + loss
        self._terms += terms
        self.tokens += tokens

    def count_rows(self, source: str, rows: int, tokens: int) -> None:
        """Count trained rows and tokens of one source."""
        counts = self.seen.setdefault(source, [0, 0])
        counts[0] += rows
        counts[1] += tokens

    def add_gradient_norm(self, norm: Tensor | float | None) -> None:
        """Store the norm of the gradient before clipping, for the next check; None to skip that."""
        self._norm = torch.as_tensor(norm).detach() if norm is not None else None

    def step(self) -> None:
        """Count one optimizer step.

        Raises:
            TrainingDiverged: The training loss or the gradient is not finite.
        """
        self.steps += 1
        if self.steps % self.check_every == 0:
            self.check()

    def check(self) -> None:
        """Check the training loss since the last rung, and the last gradient.

        Raises:
            TrainingDiverged: One of them is not finite. The gradient is the first to explode; then
                the weights, and with the next batch the loss, are not finite either.
        """
        if self._loss is not None and not bool(torch.isfinite(self._loss)):
            raise TrainingDiverged(f"training loss is not finite at step {self.steps}")
        if self._norm is not None and not bool(torch.isfinite(self._norm)):
            raise TrainingDiverged(
                f"the gradient exploded: its norm is not finite at step {self.steps}"
            )

    def take_train_loss(self) -> float | None:
        """The mean training loss since the last call; None if nothing was trained."""
        if self._loss is None or not self._terms:
            return None
        mean = float(self._loss) / self._terms
        self._loss, self._terms = None, 0
        return mean

    @property
    def training_seconds(self) -> float:
        """Seconds of training over all attempts, without evaluation."""
        earlier_seconds = self.earlier_seconds + self.interrupted
        return earlier_seconds + time.perf_counter() - self._started - self.evaluation_seconds


def finite(loss: float, what: str) -> float:
    """Return the loss if it is finite.

    Raises:
        TrainingDiverged: The loss is not a finite number.
    """
    if not math.isfinite(loss):
        raise TrainingDiverged(f"{what} is {loss}")
    return loss
