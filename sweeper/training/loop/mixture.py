"""Which rows an epoch has where sources have weights, or augmented rows come beside the originals.

An epoch has a fixed number of rows, and each part its share of them. A part that is larger than
its share is seen in turns: an epoch goes on where the last one stopped. A smaller part repeats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sweeper.data.examples import Example, digest


@dataclass(frozen=True)
class Part:
    """Rows that share a weight.

    Args:
        rows: Their places among all rows.
        weight: Of all of them together, relative to the other parts.
    """

    rows: Sequence[int]
    weight: float


class Mixture:
    """The rows of each epoch, the same for a seed.

    Args:
        parts: At least one.
        size: Rows of an epoch.
        seed: Of the trial.
    """

    def __init__(self, parts: Sequence[Part], size: int, seed: int) -> None:
        self.size = size
        self._parts = parts
        self._seed = seed
        self.counts = shares([part.weight for part in parts], size)

    def rows(self, epoch: int) -> list[int]:
        """Places of the rows of an epoch, part by part."""
        return [
            row
            for number, (part, count) in enumerate(zip(self._parts, self.counts, strict=True))
            for row in self._turn(number, part.rows, epoch * count, count)
        ]

    def _turn(self, number: int, rows: Sequence[int], start: int, count: int) -> list[int]:
        """So many rows of a part from a place of its endless sequence of permutations on."""
        turn: list[int] = []
        while len(turn) < count:
            cycle, place = divmod(start + len(turn), len(rows))
            chosen = int(digest(f"{self._seed} {number} {cycle}")[:8], 16)
            generator = torch.Generator().manual_seed(chosen)
            order = torch.randperm(len(rows), generator=generator).tolist()
            turn += [rows[i] for i in order[place : place + count - len(turn)]]
        return turn


def shares(weights: Sequence[float], size: int) -> list[int]:
    """Whole numbers in the proportion of the weights that add up to ``size``.

    >>> shares([3, 1], 10), shares([1, 1, 1], 10)
    ([8, 2], [4, 3, 3])
    """
    total = sum(weights)
    exact = [size * weight / total for weight in weights]
    counts = [int(one) for one in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for place in by_rest[: size - sum(counts)]:
        counts[place] += 1
    return counts


def mixture(
    originals: Sequence[Example],
    augmented: Sequence[Example],
    weights: Mapping[str, float],
    seed: int,
) -> Mixture | None:
    """How originals, and augmented rows after them, are mixed; None where each is seen once.

    The originals have their sources' weights, or one weight a row. Of augmented rows each is seen
    as often as an original is on average.

    Args:
        originals: The train split.
        augmented: Rows that the trial trains on, too.
        weights: Of the sources by title.
        seed: Of the trial.
    """
    if not augmented and not weights:
        return None
    by_source: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(originals):
        by_source[example.source].append(place)
    whole = sum(weights.get(source, 0.0) for source in by_source)
    parts = [
        Part(rows, len(originals) * weights[source] / whole if weights else len(rows))
        for source, rows in by_source.items()
    ]
    if augmented:
        places = range(len(originals), len(originals) + len(augmented))
        parts.append(Part(places, len(augmented)))
    return Mixture(parts, len(originals), seed)
