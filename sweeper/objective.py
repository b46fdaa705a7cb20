"""What "better" means in a study: the validation loss, a metric, or a function of the user.

Only the type. Search and findings compare *costs*, of which the lowest is best, so that they are
the same for every objective; people are shown values.
"""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from sweeper.artifact import Record

# What a value is computed from, one entry an item: the losses; predicted and true classes; answers
# in writing and references; whether a program passed its tests.
From = Literal["loss", "classes", "answers", "programs"]


class Compared(Protocol):
    """A result or a report of a trial, or a baseline."""

    @property
    def validation_loss(self) -> float | None: ...
    @property
    def objective(self) -> float | None: ...


class Objective(Record):
    """The quantity by which trials are compared, over the validation items of the loss.

    Classes are known wherever the loss is, so that their metrics are measured at rungs and prune.
    Writing answers and running functions of the user is slow: both are done at the end of a trial.
    """

    name: str = Field("validation_loss", description="as in sweep.yaml")
    title: str = "validation loss"
    metric: str = Field("loss", description="its key among the metrics of a result")
    higher_is_better: bool = False
    of: From = "loss"
    best: float | None = Field(None, description="the highest value that there is, if any")
    function: bool = Field(False, description="whether it is module:function of the user")
    folder: str = Field("", description="where the function's module is looked for as well")
    source: str = Field("", description="SHA-256 of the file that holds the function")

    @property
    def is_loss(self) -> bool:
        return self.of == "loss"

    @property
    def at_rungs(self) -> bool:
        """Whether it is measured at rungs, and prunes trials there."""
        return self.is_loss or (self.of == "classes" and not self.function)

    @property
    def of_answers(self) -> bool:
        """Whether models must write answers to be compared."""
        return self.of in ("answers", "programs")

    @property
    def direction(self) -> str:
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def pruning(self) -> str:
        """What trials are pruned by, and why, in words."""
        if self.is_loss:
            return "validation loss"
        if self.at_rungs:
            return f"{self.title}, which comes with the validation loss at no cost"
        why = (
            "your function is only run at the end of a trial"
            if self.function and self.of == "classes"
            else "writing answers is slow, so they are only scored at the end of a trial"
        )
        return f"validation loss, since {why}"

    def cost(self, value: float) -> float:
        """What is minimised: a loss itself, what a score lacks to the best one, else its negative.

        >>> Objective(higher_is_better=True, best=1.0).cost(0.75)
        0.25
        """
        return (self.best or 0.0) - value if self.higher_is_better else value

    def value(self, cost: float) -> float:
        """The value of a cost: the same formula turns it back."""
        return self.cost(cost)

    def study_value(self, cost: float) -> float:
        """The value that a study keeps of a cost at a rung, where loss and objective may differ.

        It keeps losses with the sign of its own direction.
        """
        return -cost if self.higher_is_better and not self.at_rungs else self.value(cost)

    def measured(self, compared: Compared) -> float | None:
        """The value of a result, a report or a baseline; None if it has none."""
        return compared.validation_loss if self.is_loss else compared.objective

    def cost_at_rung(self, report: Compared) -> float | None:
        """The cost at a rung: of the objective if it is measured there, else the loss."""
        measured = self.measured(report) if self.at_rungs else None
        return report.validation_loss if measured is None else self.cost(measured)

    def cost_of(self, compared: Compared) -> float | None:
        value = self.measured(compared)
        return None if value is None else self.cost(value)


LOSS = Objective()
