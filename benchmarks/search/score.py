"""Seconds of a replay until good enough; incumbents are chosen on half A and judged on half B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search.world import Realised

TOLERANCE = 0.01
DRAWS = 2000


@dataclass(frozen=True)
class Replay:
    """One method on one task with one seed.

    Args:
        ended: Completed trials in order, with the seconds since the search began.
        best: The best known.
        limit: Seconds at which the search was ended.
    """

    ended: tuple[tuple[float, Realised], ...]
    best: Realised
    limit: float

    def incumbent(self, seconds: float) -> Realised | None:
        """The trial that half A says is best by then."""
        known = [one for at, one in self.ended if at <= seconds]
        return min(known, key=lambda one: one.first_half, default=None)

    def reached(self) -> float:
        """Seconds until the incumbent was good enough on half B; infinite if it never was."""
        for at, _ in self.ended:
            one = self.incumbent(at)
            if one is not None and self._good_enough(one):
                return at
        return math.inf

    def _good_enough(self, one: Realised) -> bool:
        if one.items is None or self.best.items is None:
            return False
        apart = (one.items - self.best.items)[1::2]
        error = float(apart.std(ddof=1)) / math.sqrt(len(apart))
        return one.second_half <= self.best.second_half + max(
            TOLERANCE * self.best.second_half, error
        )


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Interval:
    """Over seeds."""
    of = np.asarray(values)
    places = np.random.default_rng(0).integers(0, len(of), size=(DRAWS, len(of)))
    low, high = np.quantile(of[places].mean(axis=1), [0.025, 0.975])
    return Interval(float(of.mean()), float(low), float(high))
