"""The items of one split, tokenised once and padded once, for every evaluation of every trial."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from sweeper.data.examples import Example
from sweeper.tasks.base import Batch, Feature, Task


class Items:
    """One split for one task.

    Args:
        task: Tokenises and pads.
        examples: In the split's own order.
    """

    def __init__(self, task: Task, examples: Sequence[Example]) -> None:
        self._task = task
        self.examples = tuple(examples)
        self._batches: dict[tuple[int, int], list[tuple[list[int], Batch]]] = {}

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def features(self) -> list[Feature]:
        return self._task.encode(self.examples)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [len(feature["input_ids"]) for feature in self.features]

    def batches(self, count: int, size: int) -> list[tuple[list[int], Batch]]:
        """The first ``count`` items, longest first, as (positions, padded batch) on the CPU."""
        key = (count, size)
        if key not in self._batches:
            order = sorted(range(count), key=lambda i: (-self.lengths[i], i))
            parts = [order[start : start + size] for start in range(0, count, size)]
            self._batches[key] = [
                (part, self._task.collate([self.features[i] for i in part])) for part in parts
            ]
        return self._batches[key]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch where the model is."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
