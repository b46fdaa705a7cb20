"""The type of a metric, and the discovery of all metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sweeper.metrics as folder
from sweeper.plugins import values_in

# What a metric is computed from, one entry an item: predicted and true class numbers; answers and
# their accepted references; mean nats per token and tokens; nats and bytes of the answer's text.
Of = Literal["classes", "answers", "tokens", "bytes"]
Unit = Literal["%", "0 to 100", ""]


@dataclass(frozen=True)
class TaskMetric:
    """One figure.

    Args:
        name: In artifacts.
        title: For people.
        of: What it is computed from.
        unit: ``%`` is a share from 0 to 1, shown times a hundred.
        compute: Takes two sequences (see ``Of``) and gives the figure. It imports what it needs
            when it is called.
        place: Tables show metrics in the order of their places.
        shown: Whether tables show it.
    """

    name: str
    title: str
    of: Of
    unit: Unit
    compute: Callable[[Sequence[Any], Sequence[Any]], float]
    place: int
    shown: bool = True


@cache
def metrics() -> dict[str, TaskMetric]:
    """All metrics by name, in their order."""
    found = [value for value in values_in(folder) if type(value) is TaskMetric]
    return {one.name: one for one in sorted(found, key=lambda one: one.place)}


def computed(of: Of, first: Sequence[Any], second: Sequence[Any]) -> dict[str, float]:
    """All metrics of one kind, by name."""
    return {
        name: float(metric.compute(first, second))
        for name, metric in metrics().items()
        if metric.of == of
    }
