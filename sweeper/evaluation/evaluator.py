"""Scores a model on the items of a split, the same way in every trial and for every baseline."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from sweeper.backend import Steps, nothing
from sweeper.evaluation.tokenized_items import TokenizedSplit, to_device
from sweeper.plans import Half
from sweeper.tasks.base import Evaluation, ItemScores, Task, in_item_order


def autocast(device: torch.device, mixed: Half | None) -> AbstractContextManager[None]:
    """Matrix products in 16 bits where the trial's precision is a mixed one, else as they are."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=getattr(torch, mixed or "bfloat16"), enabled=bool(mixed)
    )
    return context


@dataclass(frozen=True)
class Evaluator:
    """How models are scored on one split.

    Args:
        batch_size: Items at a time; longest first, so that too little memory shows at once.
        underway: Called before each batch with the number of scored items.
    """

    task: Task
    items: TokenizedSplit
    batch_size: int
    mixed: Half | None = None
    underway: Steps = nothing

    def evaluate(self, model: nn.Module, count: int | None = None) -> Evaluation:
        """Score the first ``count`` items (all if None), in item order.

        Args:
            model: The model that the task assembled. Left in evaluation mode.

        Raises:
            Interrupted: ``underway`` raised it.
        """
        count = len(self.items) if count is None else min(count, len(self.items))
        device = next(model.parameters()).device
        model.eval()
        parts: list[ItemScores] = []
        positions: list[int] = []
        with torch.no_grad(), autocast(device, self.mixed):
            for part, batch in self.items.kept_batches(count, self.batch_size):
                self.underway(len(positions), count)
                parts.append(self.task.score(model, to_device(batch, device)))
                positions += part
        joined = in_item_order(parts, positions)
        return self.task.evaluation(joined, self.items.examples[:count])
