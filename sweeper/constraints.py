"""Limits on measures of trials: how far a trial is beyond them, and how trials compare under them.

This module alone says how sure a decision must be that a trial is beyond a limit:

- What orders trials (``order``) takes the mean: the best so far, the weights that are kept, the
  finalists, the recommendation, the search, what later studies start from.
- What stops a trial, and the exit code, needs all of the interval (``Limit.is_surely_broken``): a
  one-sided one of 95% for a trial that runs, the report's two-sided one of 95% for the exit code.

Where nothing was measured, no trial is beyond the limit, and the exit code is that of a limit that
was not met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sweeper.features import parts
from sweeper.objective import Objective
from sweeper.spec import Spec
from sweeper.trials import Measure, TrialResult


class Limit(NamedTuple):
    """The most by which a measure may be above the base's value.

    Args:
        measure: The measures that it limits: those of this name, and those below it, whose names
            begin with it and a dot.
        most: In the measure's unit, or as a share.
        title: What it limits, as in "over the limit on forgetting".
        every: A trial is measured at every so many rungs, at least.
        remedy: What to do where nothing was measured, in a sentence or several.
    """

    measure: str
    most: float
    title: str
    every: int
    remedy: str

    def holds_for(self, name: str) -> bool:
        """Whether a measure of this name is limited."""
        return f"{name}.".startswith(f"{self.measure}.")

    def is_surely_broken(self, change: float, low: float | None, scale: float = 1.0) -> bool:
        """Whether a measure is beyond the limit and noise.

        Args:
            change: From the base's value.
            low: The low end of its interval; None where the items are not known, so that the mean
                decides alone.
            scale: Units of ``change`` and ``low`` in one unit of the limit.
        """
        return (change if low is None else low) > scale * self.most


def limits_of(spec: Spec) -> tuple[Limit, ...]:
    """The limits of a call, which features make of its request."""
    return tuple(limit for _, limits in parts.CONSTRAINTS.all() for limit in limits(spec))


def violation(measures: Mapping[str, Measure], limits: Sequence[Limit]) -> float | None:
    """By how much a trial is beyond its limits, at most; up to 0 it is within all.

    None where there is no limit, or nothing that one limits was measured.
    """
    violations = (
        measure.change - limit.most
        for limit in limits
        for name, measure in measures.items()
        if limit.holds_for(name)
    )
    return max(violations, default=None)


def is_beyond(violation: float | None) -> bool:
    """Whether a trial is beyond a limit, as far as that was measured."""
    return violation is not None and violation > 0


def cost_within(result: TrialResult, objective: Objective, limits: Sequence[Limit]) -> float | None:
    """The cost of a completed trial within the limits; None of another."""
    violated = result.state != "COMPLETE" or is_beyond(violation(result.measures, limits))
    return None if violated else objective.cost_of(result)


def titles_beyond(measures: Mapping[str, Measure], limits: Sequence[Limit]) -> tuple[str, ...]:
    """The titles of the limits that a trial is beyond."""
    return tuple(limit.title for limit in limits if is_beyond(violation(measures, [limit])))


def order(cost: float, violation: float | None) -> tuple[bool, float, float]:
    """The sort key of a completed trial among others, best first.

    Trials within the limits come first, the lowest cost first; then those beyond, the nearest to
    the limits first.

    Source: Deb 2000, doi:10.1016/S0045-7825(99)00389-8, section 3 (a feasible solution is better
    than an infeasible one, and of two infeasible ones that with the smaller violation).

    >>> sorted([(0.5, 0.1), (0.6, -0.1), (0.4, 0.2), (0.7, None)], key=lambda one: order(*one))
    [(0.6, -0.1), (0.7, None), (0.5, 0.1), (0.4, 0.2)]
    """
    if violation is not None and is_beyond(violation):
        return True, violation, cost
    return False, 0.0, cost
