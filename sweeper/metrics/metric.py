"""The type of a metric, and the discovery of all metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import sweeper.metrics as folder
from sweeper.plugins import values_in

# What a metric is computed from, one entry an item: predicted and true class numbers; answers and
# their accepted references; mean nats per token and tokens; nats and bytes of the answer's text;
# whether a program passed its tests (twice).
Of = Literal["classes", "answers", "tokens", "bytes", "programs"]
Unit = Literal["%", "0 to 100", ""]


class TaskMetric(NamedTuple):
    """One figure.

    Args:
        name: In artifacts.
        title: For people.
        of: What it is computed from.
        unit: ``%`` is a share from 0 to 1, shown times a hundred.
        compute: Takes two sequences (see ``Of``) and gives the figure. It imports what it needs
            when it is called.
        order: Tables show metrics in this order.
        shown: Whether tables show it.
        per_item: Whether it is the mean of its values for single items.
    """

    name: str
    title: str
    of: Of
    unit: Unit
    compute: Callable[[Sequence[Any], Sequence[Any]], float]
    order: int
    shown: bool = True
    per_item: bool = False


@cache
def metrics() -> dict[str, TaskMetric]:
    """All metrics by name, in their order."""
    every = [value for value in values_in(folder) if type(value) is TaskMetric]
    return {metric.name: metric for metric in sorted(every, key=lambda metric: metric.order)}


def computed(of: Of, first: Sequence[Any], second: Sequence[Any]) -> dict[str, float]:
    """All metrics of one kind, by name."""
    return {
        name: float(metric.compute(first, second))
        for name, metric in metrics().items()
        if metric.of == of
    }


# Each needs a call of the metric without the group's items.
GROUPS = 50


def item_values(
    compute: Callable[[Sequence[Any], Sequence[Any]], float],
    first: Sequence[Any],
    second: Sequence[Any],
    *,
    per_item: bool,
) -> list[float]:
    """One number an item, whose mean is the metric and whose scatter gives its standard error.

    A metric over all items at once has none of its own: they are made from its jackknife over
    groups of items (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11),
    stretched so that items of a group count as if they were independent. The same items in the
    same order are in the same groups, so that two models can be compared item by item.

    Args:
        compute: The metric; takes the two sequences.
        per_item: Whether it is a mean over the items.

    >>> item_values(lambda a, b: sum(x == y for x, y in zip(a, b)) / len(a), [1, 2], [1, 3],
    ...             per_item=True)
    [1.0, 0.0]
    """
    count = len(first)
    if per_item:
        return [float(compute([a], [b])) for a, b in zip(first, second, strict=True)]
    whole, groups = float(compute(first, second)), min(GROUPS, count)
    if groups < 2:
        return [whole] * count
    left_out = []
    for group in range(groups):
        kept = [item for item in range(count) if item % groups != group]
        left_out.append(compute([first[i] for i in kept], [second[i] for i in kept]))
    mean, stretch = sum(left_out) / groups, (groups - 1) * (count / groups) ** 0.5
    apart = [stretch * (mean - left_out[item % groups]) for item in range(count)]
    moved = whole - sum(apart) / count
    return [moved + distance for distance in apart]
