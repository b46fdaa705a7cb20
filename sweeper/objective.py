"""How trials are compared: by the objective of the study, within limits on other measures.

The objective is the validation loss, a metric, or a user's function. Search and findings
compare *costs*: the lowest is best for every objective. Tables and texts show values.

The required certainty that a trial exceeds a limit depends on the decision:

- The order of trials (``order``) uses the mean. It decides the best trial so far, kept weights,
  finalists, the recommendation, the best trials around which the search samples, and the first
  trials of later studies.
- To stop a trial or fail with an exit code, the whole interval must exceed the limit
  (``Limit.is_surely_broken``): a one-sided 95% interval for a running trial, the report's
  two-sided 95% interval for the exit code.

A trial without a measurement does not exceed the limit, but the command exits as if it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pydantic import Field

from sweeper.artifact import Record
from sweeper.features import parts
from sweeper.spec import Spec

if TYPE_CHECKING:
    from sweeper.trials import Measure, TrialResult

# The inputs of an objective, with an entry for each item: losses; predicted and true classes;
# generated answers and references; whether a program passed its tests.
ObjectiveInput = Literal["loss", "classes", "answers", "programs"]


class Compared(Protocol):
    """What has a loss and maybe an objective: a trial's result or rung report, or a baseline."""

    @property
    def validation_loss(self) -> float | None: ...
    @property
    def objective(self) -> float | None: ...


class Objective(Record):
    """The quantity by which trials are compared, over the same validation items as the loss.

    Class metrics are computed with the loss, even at rungs, where they prune trials. Metrics of
    answers and users' functions are slow, and computed only at the trial's end.
    """

    name: str = Field("validation_loss", description="as in sweep.yaml")
    title: str = "validation loss"
    metric: str = Field("loss", description="its key in the metrics of a result")
    higher_is_better: bool = False
    computed_from: ObjectiveInput = "loss"
    best: float | None = Field(None, description="the highest possible value, if any")
    function: bool = Field(False, description="whether it is a user's module:function")
    folder: str = Field("", description="a further folder to look for the function's module")
    source: str = Field("", description="SHA-256 of the function's file")

    @property
    def is_loss(self) -> bool:
        return self.computed_from == "loss"

    @property
    def at_rungs(self) -> bool:
        """Whether it is measured at rungs, where it prunes trials."""
        return self.is_loss or (self.computed_from == "classes" and not self.function)

    @property
    def of_answers(self) -> bool:
        """Whether models must generate answers to be compared."""
        return self.computed_from in ("answers", "programs")

    @property
    def direction_in_words(self) -> str:
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def pruning(self) -> str:
        """The quantity that trials are pruned by, with the reason, as text."""
        if self.is_loss:
            return "validation loss"
        if self.at_rungs:
            return f"{self.title}, which comes with the validation loss at no cost"
        why = (
            "your function is only run at the end of a trial"
            if self.function and self.computed_from == "classes"
            else "writing answers is slow, so they are only scored at the end of a trial"
        )
        return f"validation loss, since {why}"

    def cost(self, value: float) -> float:
        """The minimised cost: the loss; for a score, ``best`` (0 if None) minus the score.

        >>> Objective(higher_is_better=True, best=1.0).cost(0.75)
        0.25
        """
        return (self.best or 0.0) - value if self.higher_is_better else value

    def value(self, cost: float) -> float:
        """The value of a cost; ``cost`` is its own inverse."""
        return self.cost(cost)

    def study_value(self, cost: float) -> float:
        """The value that a study stores for a cost at a rung.

        If the objective is not measured at rungs, the cost is a loss, which is negated if the
        study maximises.
        """
        return -cost if self.higher_is_better and not self.at_rungs else self.value(cost)

    def measured(self, compared: Compared) -> float | None:
        """The value of the objective, such as the loss; None if it was not measured."""
        return compared.validation_loss if self.is_loss else compared.objective

    def cost_at_rung(self, report: Compared) -> float | None:
        """The cost at a rung: by the objective if it was measured there, otherwise the loss."""
        measured = self.measured(report) if self.at_rungs else None
        return report.validation_loss if measured is None else self.cost(measured)

    def cost_of(self, compared: Compared) -> float | None:
        """The cost by the objective; None if it was not measured."""
        value = self.measured(compared)
        return None if value is None else self.cost(value)


LOSS = Objective()


class Limit(NamedTuple):
    """A limit on the increase of a measure above the base model's value.

    Args:
        measure: Name of the limited measure. It also limits ``NAME.*``, such as ``general.text``.
        most: Largest allowed increase, in the unit of the measure; 0.02 for 2 points of a score.
        title: The subject of the limit, as in "over the limit on forgetting".
        every: Largest number of rungs from one measurement of a trial to the next.
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
