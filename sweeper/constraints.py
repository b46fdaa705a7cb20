"""Limits on measures of trials: how far a trial exceeds them, and the order of trials.

The required certainty that a trial exceeds a limit depends on the decision:

- The order of trials (``order``) uses the mean. It decides the best trial so far, kept weights,
  finalists, the recommendation, the search, and the first trials of later studies.
- To stop a trial or fail with an exit code, the whole interval must exceed the limit
  (``Limit.is_surely_broken``): a one-sided 95% interval for a running trial, the report's
  two-sided 95% interval for the exit code.

Without a measurement, no trial exceeds the limit, but the command exits as if one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sweeper.features import parts
from sweeper.objective import Objective
from sweeper.spec import Spec
from sweeper.trials import Measure, TrialResult


class Limit(NamedTuple):
    """A limit on the increase of a measure above the base model's value.

    Args:
        measure: Name of the limited measure. It also limits ``NAME.*``, such as ``general.text``.
        most: The largest increase, in the unit of the measure; 0.02 for 2 points of a score.
        title: The subject of the limit, as in "over the limit on forgetting".
        every: Largest number of rungs between two measurements of a trial.
        remedy: Sentences on what to do if nothing was measured.
    """

    measure: str
    most: float
    title: str
    every: int
    remedy: str

    def holds_for(self, name: str) -> bool:
        """Whether the limit applies to the measure with this name."""
        return f"{name}.".startswith(f"{self.measure}.")

    def is_surely_broken(self, change: float, low: float | None, scale: float = 1.0) -> bool:
        """Whether a measure exceeds the limit beyond noise.

        Args:
            change: The change from the base model's value.
            low: Low end of the change's interval; if None, ``change`` is compared.
            scale: Factor from the limit's unit to that of ``change``, such as 100 for points.
        """
        return (change if low is None else low) > scale * self.most


def limits_of(spec: Spec) -> tuple[Limit, ...]:
    """The limits of a spec, which features define."""
    return tuple(limit for _, limits in parts.CONSTRAINTS.all() for limit in limits(spec))


def violation(measures: Mapping[str, Measure], limits: Sequence[Limit]) -> float | None:
    """The largest amount by which a measure exceeds its limit; 0 or less within all limits.

    None if no limited measure was measured.
    """
    violations = (
        measure.change - limit.most
        for limit in limits
        for name, measure in measures.items()
        if limit.holds_for(name)
    )
    return max(violations, default=None)


def is_beyond(violation: float | None) -> bool:
    """Whether a trial exceeds a limit; False if nothing was measured."""
    return violation is not None and violation > 0


def cost_within(result: TrialResult, objective: Objective, limits: Sequence[Limit]) -> float | None:
    """The cost of a completed trial within the limits; None for other trials."""
    violated = result.state != "COMPLETE" or is_beyond(violation(result.measures, limits))
    return None if violated else objective.cost_of(result)


def titles_beyond(measures: Mapping[str, Measure], limits: Sequence[Limit]) -> tuple[str, ...]:
    """The titles of the limits that a trial exceeds."""
    return tuple(limit.title for limit in limits if is_beyond(violation(measures, [limit])))


def order(cost: float, violation: float | None) -> tuple[bool, float, float]:
    """The sort key of completed trials, best first.

    Trials within the limits come first, by cost; then the others, by violation.

    Source: Deb 2000, doi:10.1016/S0045-7825(99)00389-8, section 3 (a feasible solution is better
    than an infeasible one, and of two infeasible ones that with the smaller violation).

    >>> sorted([(0.5, 0.1), (0.6, -0.1), (0.4, 0.2), (0.7, None)], key=lambda trial: order(*trial))
    [(0.6, -0.1), (0.7, None), (0.5, 0.1), (0.4, 0.2)]
    """
    if violation is not None and is_beyond(violation):
        return True, violation, cost
    return False, 0.0, cost
