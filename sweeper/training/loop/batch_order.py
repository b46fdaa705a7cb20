"""Which rows an epoch has, and in which order: random batches of similar lengths.

The order depends on the effective batch and the seed, never on the
micro-batch, so that a trial that had to halve its micro-batch sees the same batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.utils.data import Sampler

from sweeper.data.examples import Example, digest
from sweeper.data.splits import apportioned

Part = tuple[Sequence[int], float]
"""Places of rows, and what all of them together weigh relative to the other parts."""


class Mixture:
    """The rows of each epoch, the same for a seed."""

    def __init__(self, parts: Sequence[Part], size: int, seed: int) -> None:
        self.size = size
        self._seed = seed
        self._parts = [rows for rows, _ in parts]
        self.counts = apportioned([weight for _, weight in parts], size)

    def rows(self, epoch: int) -> list[int]:
        """Places of the rows of an epoch, part by part."""
        return [
            row
            for number, count in enumerate(self.counts)
            for row in self._turn(number, epoch * count, count)
        ]

    def _turn(self, number: int, start: int, count: int) -> list[int]:
        """So many rows of a part from a place of its endless sequence of permutations on."""
        rows, turn = self._parts[number], list[int]()
        while len(turn) < count:
            cycle, offset = divmod(start + len(turn), len(rows))
            chosen = int(digest(f"{self._seed} {number} {cycle}")[:8], 16)
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(chosen))
            turn += [rows[i] for i in order[offset : offset + count - len(turn)].tolist()]
        return turn


def mixture(
    originals: Sequence[Example], further: int, weights: Mapping[str, float], seed: int
) -> Mixture | None:
    """How originals, and further rows after them, are mixed; None where each is seen once.

    An epoch has as many rows as there are originals.

    Args:
        further: How many rows come after them, each seen as often as an original on average.
        weights: Of the sources by title; without them, each row weighs the same.
    """
    if not further and not weights:
        return None
    size = len(originals)
    by_source: dict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(originals):
        by_source[example.source].append(row)
    whole = sum(weights.get(source, 0.0) for source in by_source)
    parts: list[Part] = [
        (rows, size * weights[source] / whole if weights else len(rows))
        for source, rows in by_source.items()
    ]
    further_parts: list[Part] = [(range(size, size + further), further)] if further else []
    return Mixture(parts + further_parts, size, seed)


# Batches are cut from pools of this many batches' worth of examples that were sorted by length.
# transformers' LengthGroupedSampler has the same number, but leaves a pool's batches in the order
# of their lengths; here the batches are shuffled, so that lengths do not drift within an epoch.
_POOL = 50
# Small data: transformers takes a quarter of an epoch, which groups nothing below 8 batches.
# Measured on 120 instructions (self-instruct's seeds) in batches of 8: 2.10 tokens computed for
# each real one in random order, 1.53 with pools of a quarter, 1.24 with these; on 60 of them 2.16,
# 2.16 and 1.50. Half of an epoch at most, so that batches are not the same in each.
# Not for classes: a length can tell a class, and batches of one class teach little.
LEAST = 8


class LengthGroupedBatches(Sampler[int]):
    """Indices of one epoch per iteration; every ``batch`` of them have similar lengths.

    The batch with the longest example comes first, so that too little memory shows at once. An
    incomplete batch comes last.

    Args:
        lengths: Lengths of all examples, in tokens.
        batch: The effective batch.
        seed: Seed of the trial; epoch e is shuffled with ``seed + e``.
        least: Batches of a pool, as far as half of an epoch holds them.
        epoch: The first one, counted from 0.
        mixture: Which rows an epoch has; every row once if None.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch: int,
        seed: int,
        least: int = LEAST,
        epoch: int = 0,
        mixture: Mixture | None = None,
    ) -> None:
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._least = least
        self._epoch = epoch
        self._mixture = mixture

    def __len__(self) -> int:
        return self._mixture.size if self._mixture else len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        if self._mixture is not None:
            rows = self._mixture.rows(self._epoch)
            order = [rows[number] for number in order]
        self._epoch += 1
        quarter, half = len(order) // (4 * self._batch), -(-len(order) // (2 * self._batch))
        pool = self._batch * min(_POOL, max(1, quarter, min(self._least, half)))
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            by_length = sorted(order[start : start + pool], key=lambda i: -self._lengths[i])
            batches += [
                by_length[i : i + self._batch] for i in range(0, len(by_length), self._batch)
            ]
        whole = [batch for batch in batches if len(batch) == self._batch]
        rest = [batch for batch in batches if len(batch) < self._batch]
        shuffled = [whole[i] for i in torch.randperm(len(whole), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self._lengths[shuffled[i][0]])
            shuffled.insert(0, shuffled.pop(longest))
        return iter([index for batch in shuffled + rest for index in batch])
