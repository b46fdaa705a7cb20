"""Figures in findings: intervals, metrics, comparisons, Pareto fronts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from sweeper.artifact import Record

Outcome = Literal["better", "worse", "equivalent", "within noise"]
# Why no claim is made from a difference: under 20 items, or no model trained more than once.
Lacking = Literal["items", "seeds"]


class Interval(Record):
    """A figure with its 95% confidence interval; an unknown ``low`` or ``high`` is None."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = Field(None, description="number of items or seeds")

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high end; the value itself if an end is unknown."""
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


class Metric(Record):
    """A metric by name. ``unit`` is ``points`` if differences are shown times 100."""

    name: str
    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def direction_in_words(self) -> str:
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def as_cost(self, value: float) -> float:
        """A value as a cost: its sign is changed if higher is better."""
        return -value if self.higher_is_better else value


class Comparison(Record):
    """Two models on the same items. ``first`` and ``second`` are ``trial-N`` or a baseline name."""

    first: str
    second: str
    metric: str
    difference: Interval
    outcome: Outcome
    lacking: Lacking | None = Field(None, description="why no claim is made from it")
    adjusted_p: float | None = Field(None, description="Holm, over trials or over baselines")
    comparisons: int = Field(1, description="number of comparisons in Holm's correction")
    not_worse: bool | None = Field(
        None,
        description="whether the first is shown to be worse by less than the margin, if at all: "
        "the interval's end says so; None if nothing is claimed",
    )
    more_items: int | None = Field(None, description="further test items that would decide it")
    seed_share: float | None = Field(
        None, description="share of the variance from seeds; the rest is from items"
    )


class Gain(Record):
    """The gain of one of two trials over the other on the same validation items."""

    gain: Interval | None = Field(None, description="positive is a gain, whatever the direction")
    outcome: Outcome | None = Field(None, description="of the trial that is to have gained")
    lacking: Lacking | None = Field(None, description="why nothing is claimed from the gain")
    comparisons: int = Field(1, description="number of comparisons in Holm's correction")


class NotMeasured(Record):
    """A section without numbers, with the reason and the command that would measure it."""

    reason: str
    command: str = ""


def front_of(points: Iterable[tuple[float, float, int]]) -> list[int]:
    """The trials that no other trial beats in both costs, sorted by the first cost.

    >>> front_of([(1.0, 5.0, 0), (2.0, 3.0, 1), (3.0, 4.0, 2)])
    [0, 1]
    """
    front: list[int] = []
    lowest = float("inf")
    for _, cost, number in sorted(points):
        if cost < lowest:
            lowest = cost
            front.append(number)
    return front
