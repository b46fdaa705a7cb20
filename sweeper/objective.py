"""The objective of a study: the validation loss, a metric, or a function of the user.

Search and findings compare *costs*: the lowest is best for every objective. Tables and texts show
values.
"""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from sweeper.artifact import Record

# The inputs of an objective, with an entry for each item: losses; predicted and true classes;
# generated answers and references; whether a program passed its tests.
ObjectiveInput = Literal["loss", "classes", "answers", "programs"]


class Compared(Protocol):
    """A result or a rung report of a trial, or a baseline."""

    @property
    def validation_loss(self) -> float | None: ...
    @property
    def objective(self) -> float | None: ...


class Objective(Record):
    """The quantity by which trials are compared, over the same validation items as the loss.

    Class metrics are computed with the loss, even at rungs, where they prune trials. Answers and
    users' functions are slow, and wait for the trial's end.
    """

    name: str = Field("validation_loss", description="as in sweep.yaml")
    title: str = "validation loss"
    metric: str = Field("loss", description="its key in the metrics of a result")
    higher_is_better: bool = False
    computed_from: ObjectiveInput = "loss"
    best: float | None = Field(None, description="the highest possible value, if any")
    function: bool = Field(False, description="whether it is a module:function of the user")
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
        """The objective's value of a result, rung report or baseline; None if it has none."""
        return compared.validation_loss if self.is_loss else compared.objective

    def cost_at_rung(self, report: Compared) -> float | None:
        """The cost at a rung, by the objective if it is measured there, else the loss."""
        measured = self.measured(report) if self.at_rungs else None
        return report.validation_loss if measured is None else self.cost(measured)

    def cost_of(self, compared: Compared) -> float | None:
        value = self.measured(compared)
        return None if value is None else self.cost(value)


LOSS = Objective()
