"""The figures that findings are made of: intervals, metrics, comparisons. Only types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Record

Outcome = Literal["better", "worse", "equivalent", "within noise"]
# Why nothing was claimed from a difference: under 20 items, or no model trained more than once.
Lacking = Literal["items", "seeds"]


class Interval(Record):
    """A figure with its 95% confidence interval; ``low``/``high`` are None where unknown."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = Field(None, description="number of items or seeds")

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high; the value itself where an end is unknown."""
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


class Metric(Record):
    """A metric by name. ``unit`` is ``points`` where differences are shown times 100."""

    name: str
    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def direction(self) -> str:
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def worse(self, value: float) -> float:
        """A value with its sign turned so that lower is better."""
        return -value if self.higher_is_better else value


class Comparison(Record):
    """Two models on the same items. ``first`` and ``second`` are ``trial-N`` or a baseline name."""

    first: str
    second: str
    metric: str
    difference: Interval
    outcome: Outcome
    lacking: Lacking | None = Field(None, description="why nothing is claimed from it")
    adjusted_p: float | None = Field(None, description="Holm, over trials or over baselines")
    comparisons: int = Field(1, description="that Holm's correction was taken over")
    not_worse: bool | None = Field(
        None,
        description="whether the first is shown to be worse by less than the margin, if at all: "
        "the interval's end says so; None if nothing is claimed",
    )
    more_items: int | None = Field(None, description="further test items that would settle it")
    seed_share: float | None = Field(None, description="of the variance; the rest is the items'")


class Gain(Record):
    """How much one of two trials gained over the other on the same validation items."""

    gain: Interval | None = Field(None, description="positive is a gain, whatever the direction")
    outcome: Outcome | None = Field(None, description="of the trial that is to have gained")
    lacking: Lacking | None = Field(None, description="why nothing is claimed from the gain")
    comparisons: int = Field(1, description="that Holm's correction was taken over")


class NotMeasured(Record):
    """A section without numbers, with the reason and the command that would measure it."""

    reason: str
    command: str = ""
