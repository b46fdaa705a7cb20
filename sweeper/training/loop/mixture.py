"""Which rows an epoch has where sources have weights, or augmented rows come beside the originals.

An epoch has a fixed number of rows, and each part its share of them. A part that is larger than
its share is seen in turns: an epoch continues where the last one stopped. A smaller part repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from sweeper.data.examples import Example, digest
from sweeper.data.splits import apportioned

Part = tuple[Sequence[int], float]
"""Places of rows, and what all of them together weigh relative to the other parts."""


class Mixture:
    """The rows of each epoch, the same for a seed.

    Args:
        parts: At least one.
        size: Rows of an epoch.
        seed: Of the trial.
    """

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
            cycle, place = divmod(start + len(turn), len(rows))
            chosen = int(digest(f"{self._seed} {number} {cycle}")[:8], 16)
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(chosen))
            turn += [rows[i] for i in order[place : place + count - len(turn)].tolist()]
        return turn


def mixture(
    originals: Sequence[Example], augmented: int, weights: Mapping[str, float], seed: int
) -> Mixture | None:
    """How originals, and augmented rows after them, are mixed; None where each is seen once.

    Args:
        originals: The train split.
        augmented: How many rows come after them, each seen as often as an original on average.
        weights: Of the sources by title; without them, each row weighs the same.
        seed: Of the trial.
    """
    if not augmented and not weights:
        return None
    size = len(originals)
    by_source: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(originals):
        by_source[example.source].append(place)
    whole = sum(weights.get(source, 0.0) for source in by_source)
    parts: list[Part] = [
        (rows, size * weights[source] / whole if weights else len(rows))
        for source, rows in by_source.items()
    ]
    beside: list[Part] = [(range(size, size + augmented), augmented)] if augmented else []
    return Mixture(parts + beside, size, seed)
