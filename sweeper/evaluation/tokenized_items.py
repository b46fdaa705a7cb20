"""The items of one split, tokenised once for every trial, in padded batches of like lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch

from sweeper.data.examples import Example
from sweeper.errors import DataError, Problem
from sweeper.tasks.base import Batch, Feature, Task
from sweeper.underway import Steps, nothing

_TOKENISED_TOGETHER = 512

Positioned = tuple[list[int], Batch]
"""Items padded together, and where they stand in the split."""


class TokenizedSplit:
    """One split for one task.

    Args:
        task: Tokenises and pads.
        examples: In the split's own order.
        underway: Called with the number of tokenised items.
    """

    def __init__(self, task: Task, examples: Sequence[Example], underway: Steps = nothing) -> None:
        self._task = task
        self._underway = underway
        self.examples = tuple(examples)
        self._kept: dict[tuple[int, int], list[Positioned]] = {}

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def features(self) -> list[Feature]:
        """Each item tokenised.

        Raises:
            DataError: Some cannot be; all of them are named.
        """
        features: list[Feature] = []
        problems: list[Problem] = []
        for start in range(0, len(self.examples), _TOKENISED_TOGETHER):
            self._underway(start, len(self.examples))
            try:
                features += self._task.encode(self.examples[start : start + _TOKENISED_TOGETHER])
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        return features

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [len(feature["input_ids"]) for feature in self.features]

    def batches(self, count: int, size: int) -> Iterator[Positioned]:
        """The first ``count`` items, longest first, as (positions, padded batch) on the CPU."""
        order = sorted(range(count), key=lambda i: (-self.lengths[i], i))
        for start in range(0, count, size):
            part = order[start : start + size]
            yield part, self._task.collate([self.features[i] for i in part])

    def kept_batches(self, count: int, size: int) -> list[Positioned]:
        """The same, padded once and kept: for what every trial is scored on."""
        key = (count, size)
        if key not in self._kept:
            self._kept[key] = list(self.batches(count, size))
        return self._kept[key]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch where the model is."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
