"""The items of one split, tokenised once for every trial, in padded batches of like lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch

from sweeper.cache import home, made_while_used
from sweeper.data.examples import Example
from sweeper.data.table import Stored
from sweeper.errors import DataError, Problem
from sweeper.evaluation.stored_features import StoredFeatures, fingerprint, write_features
from sweeper.tasks.base import Batch, Feature, Task
from sweeper.underway import Steps, nothing

_TOKENISED_TOGETHER = 512

_ROW = "row"

MAPPED_FROM = 10_000
"""Items from which on a file is worth it: fewer are tokenised in seconds."""

Positioned = tuple[list[int], Batch]
"""Items padded together, and where they stand in the split."""


class TokenizedSplit:
    """One split for one task.

    Args:
        task: Tokenises and pads.
        examples: In the split's own order.
        underway: Called with the number of tokenised items.
        divided: A long example becomes several items instead of one that is cut.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        underway: Steps = nothing,
        *,
        divided: bool = False,
    ) -> None:
        self._task = task
        self._underway = underway
        self._examples = examples
        self._divided = divided
        self._kept: dict[tuple[int, int], list[Positioned]] = {}

    def __len__(self) -> int:
        return len(self.features) if self._divided else len(self._examples)

    @cached_property
    def examples(self) -> Sequence[Example]:
        """The example of each item."""
        if not self._divided:
            return self._examples
        found = self.features
        if isinstance(found, StoredFeatures):
            rows = found.numbers(_ROW)
        else:
            rows = [feature[_ROW] for feature in found]
        return Stored(len(rows), lambda place: self._examples[rows[place]])

    @cached_property
    def features(self) -> Sequence[Feature]:
        """Each item tokenised; of many items, mapped from a file that is made once.

        Raises:
            DataError: Some cannot be; all of them are named.
        """
        large = len(self._examples) >= MAPPED_FROM
        name = fingerprint(self._task, self._told()) if large else None
        if name is None:
            return [feature for block in self._blocks() for feature in block]
        folder = made_while_used(
            home() / "tokens" / f"{name}{'-divided' if self._divided else ''}",
            lambda folder: write_features(folder, self._blocks()),
            while_waiting=lambda: self._underway(0, len(self._examples)),
        )
        return StoredFeatures(folder)

    def _told(self) -> Iterator[Example]:
        for place, example in enumerate(self._examples):
            if not place % _TOKENISED_TOGETHER:
                self._underway(0, len(self._examples))
            yield example

    def _blocks(self) -> Iterator[list[Feature]]:
        problems: list[Problem] = []
        for start in range(0, len(self._examples), _TOKENISED_TOGETHER):
            self._underway(start, len(self._examples))
            block = self._examples[start : start + _TOKENISED_TOGETHER]
            try:
                if not self._divided:
                    yield self._task.encode(block)
                    continue
                each = enumerate(self._task.divided(block), start)
                yield [{**item, _ROW: row} for row, items in each for item in items]
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    @cached_property
    def fates(self) -> Sequence[Feature]:
        """Features of which only the fates are looked at."""
        found = self.features
        return found.fates() if isinstance(found, StoredFeatures) else found

    @cached_property
    def lengths(self) -> Sequence[int]:
        """Tokens of each item."""
        if isinstance(self.features, StoredFeatures):
            return self.features.lengths()
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
