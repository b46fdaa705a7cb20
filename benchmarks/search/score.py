"""What a replay showed: seconds until good enough, and regret at fixed budgets.

Incumbents are chosen on half A and judged on half B. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search.table import Floats
from benchmarks.search.world import Realised

TOLERANCE = 0.01
BUDGETS = (5.0, 10.0, 20.0)
DRAWS = 2000


@dataclass(frozen=True)
class Replay:
    """One method on one task with one seed.

    Args:
        ended: Completed trials in order, with the seconds since the search began.
        best: The best known.
        guessing: The loss before anything was trained.
        unit: Seconds of one full budget of the first default.
        limit: Seconds at which the search was ended.
        trials: How many were begun, and how many of them completed.
        spent: Seconds that they took.
    """

    ended: tuple[tuple[float, Realised], ...]
    best: Realised
    guessing: float
    unit: float
    limit: float
    trials: tuple[int, int]
    spent: float

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

    def regret(self, budgets: float) -> float:
        """How much worse the incumbent's true loss is than the best known's, as a share."""
        one = self.incumbent(budgets * self.unit)
        loss = self.guessing if one is None else min(one.truth, self.guessing)
        return loss / self.best.truth - 1

    def second_half_regret(self, budgets: float) -> float:
        """The same on half B."""
        one = self.incumbent(budgets * self.unit)
        loss = self.guessing if one is None else min(one.second_half, self.guessing)
        return loss / self.best.second_half - 1


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Interval:
    """Over seeds."""
    drawn = _drawn(np.asarray(values)).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high))


def mean_seconds(replays: Sequence[Replay]) -> Interval:
    """Mean of the full budgets spent until good enough; the limit counts where it never was."""
    return mean([min(one.reached(), one.limit) / one.unit for one in replays])


def _drawn(values: Floats) -> Floats:
    generator = np.random.default_rng(0)
    return np.asarray(values[generator.integers(0, len(values), size=(DRAWS, len(values)))])


def summary(replays: Sequence[Replay]) -> dict[str, object]:
    """All figures of one method on one task."""
    reached = [one.reached() for one in replays]
    told: dict[str, object] = {
        "seeds": len(replays),
        "budgets_until_good": vars(mean_seconds(replays)),
        "median_budgets": float(
            np.median([r / one.unit for r, one in zip(reached, replays, strict=True)])
        ),
        "share_reached": float(np.mean([math.isfinite(r) for r in reached])),
        "trials": float(np.mean([one.trials[0] for one in replays])),
        "budgets": float(np.mean([one.spent / one.unit for one in replays])),
        "completed": float(np.mean([one.trials[1] for one in replays])),
    }
    told["regret_at_end"] = vars(mean([one.regret(math.inf) for one in replays]))
    for budget in BUDGETS:
        told[f"regret_at_{budget:g}"] = vars(mean([one.regret(budget) for one in replays]))
        told[f"half_b_regret_at_{budget:g}"] = vars(
            mean([one.second_half_regret(budget) for one in replays])
        )
    return told
