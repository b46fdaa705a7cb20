"""The rows of an epoch and their order: random batches of rows of similar lengths.

The order depends on the effective batch and the seed, not on the micro-batch, so that a trial that
had to halve its micro-batch sees the same batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from sweeper.data.examples import Example, digest
from sweeper.data.splits import apportioned

Part = tuple[Sequence[int], float]
"""Indices of rows, and their total weight relative to the other parts."""


class Mixture:
    """The rows of each epoch, drawn from parts by weight; reproducible by the seed."""

    def __init__(self, parts: Sequence[Part], size: int, seed: int) -> None:
        self.size = size
        self._seed = seed
        self._parts = [rows for rows, _ in parts]
        self.counts = apportioned([weight for _, weight in parts], size)

    def rows(self, epoch: int) -> list[int]:
        """Indices of the rows of an epoch, part by part."""
        return [
            row
            for number, count in enumerate(self.counts)
            for row in self._next_rows(number, epoch * count, count)
        ]

    def _next_rows(self, number: int, start: int, count: int) -> list[int]:
        """``count`` rows of part ``number``, from index ``start`` of its endless permutations."""
        rows, picked = self._parts[number], list[int]()
        while len(picked) < count:
            cycle, offset = divmod(start + len(picked), len(rows))
            seed = int(digest(f"{self._seed} {number} {cycle}")[:8], 16)
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            picked += [rows[i] for i in order[offset : offset + count - len(picked)].tolist()]
        return picked


def mixture(
    originals: Sequence[Example], further_count: int, weights: Mapping[str, float], seed: int
) -> Mixture | None:
    """A mixture of originals and further rows; None if each epoch has every row once.

    An epoch has as many rows as there are originals.

    Args:
        further_count: Number of further rows, whose indices follow those of the originals. Each
            is seen as often as an original on average.
        weights: Weight of each source; if empty, each row has the same weight.
    """
    if not further_count and not weights:
        return None
    size = len(originals)
    by_source: dict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(originals):
        by_source[example.source].append(row)
    total = sum(weights.get(source, 0.0) for source in by_source)
    parts: list[Part] = [
        (rows, size * weights[source] / total if weights else len(rows))
        for source, rows in by_source.items()
    ]
    if further_count:
        parts.append((range(size, size + further_count), further_count))
    return Mixture(parts, size, seed)


# Examples are sorted by length within pools of this many batches. transformers'
# LengthGroupedSampler has the same number, but leaves a pool's batches in the order of their
# lengths; here the batches are shuffled, so that lengths do not drift within an epoch.
_POOL_BATCHES = 50
# Minimum batches of a pool, for small data. transformers' minimum is a quarter of an epoch, which
# groups nothing below 8 batches.
# Tokens with padding, relative to those without, for 120 instructions (self-instruct's seeds) in
# batches of 8: 2.10 in random order, 1.53 with a quarter of an epoch, 1.24 with this pool. For 60
# instructions: 2.16, 2.16, 1.50.
# A pool has at most half of an epoch, so that epochs differ.
# Classification has no minimum: a length can reveal a class, and batches of one class teach little.
MIN_POOL_BATCHES = 8


@dataclass(eq=False)
class LengthGroupedBatches(Sampler[int]):
    """A sampler of the row indices of one epoch, in batches of similar lengths.

    The batch with the longest row comes first: if memory is too small, training fails at once. An
    incomplete batch comes last.

    Args:
        lengths: Lengths of all rows, in tokens.
        batch: The effective batch.
        seed: Seed of the trial; epoch e is shuffled with ``seed + e``.
        min_pool_batches: Minimum batches of a pool, unless half of an epoch has fewer.
        epoch: The next epoch, counted from 0.
        mixture: The rows of an epoch; every row once if None.
    """

    lengths: Sequence[int]
    batch: int
    seed: int
    min_pool_batches: int = MIN_POOL_BATCHES
    epoch: int = 0
    mixture: Mixture | None = None

    def __len__(self) -> int:
        return self.mixture.size if self.mixture else len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        if self.mixture is not None:
            rows = self.mixture.rows(self.epoch)
            order = [rows[number] for number in order]
        self.epoch += 1
        quarter, half = len(order) // (4 * self.batch), -(-len(order) // (2 * self.batch))
        pool = self.batch * min(_POOL_BATCHES, max(1, quarter, min(self.min_pool_batches, half)))
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            by_length = sorted(order[start : start + pool], key=lambda i: -self.lengths[i])
            batches += [by_length[i : i + self.batch] for i in range(0, len(by_length), self.batch)]
        complete = [batch for batch in batches if len(batch) == self.batch]
        incomplete = [batch for batch in batches if len(batch) < self.batch]
        shuffled = [
            complete[i] for i in torch.randperm(len(complete), generator=generator).tolist()
        ]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self.lengths[shuffled[i][0]])
            shuffled.insert(0, shuffled.pop(longest))
        return iter([index for batch in shuffled + incomplete for index in batch])
