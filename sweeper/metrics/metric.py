"""The type of a metric, and the discovery of all metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import sweeper.metrics as folder
from sweeper.packages import values_in

# Kind of the two sequences from which a metric is computed; both have an entry for each item.
#   classes: predicted and true class numbers
#   answers: answers and their accepted references
#   tokens: mean nats per token and numbers of tokens
#   bytes: nats and bytes of the answer's text
#   programs: whether the program passed its tests, in both sequences
MetricInput = Literal["classes", "answers", "tokens", "bytes", "programs"]
Unit = Literal["%", "0 to 100", ""]


class TaskMetric(NamedTuple):
    """A metric.

    Args:
        name: Its name in artifacts.
        title: Its name in tables.
        computed_from: The kind of its inputs.
        unit: ``%`` for a share from 0 to 1, which is shown as a percentage.
        compute: Function from two sequences (see ``MetricInput``) to the value. It imports
            optional packages when it is called.
        order: Position in tables.
        shown: Whether tables show it.
        per_item: Whether the metric is the mean of its values for single items.
    """

    name: str
    title: str
    computed_from: MetricInput
    unit: Unit
    compute: Callable[[Sequence[Any], Sequence[Any]], float]
    order: int
    shown: bool = True
    per_item: bool = False


@cache
def metrics() -> dict[str, TaskMetric]:
    """All metrics by name, in the order of tables."""
    all_metrics = [value for value in values_in(folder) if type(value) is TaskMetric]
    return {metric.name: metric for metric in sorted(all_metrics, key=lambda metric: metric.order)}


def compute_metrics(
    kind: MetricInput, first: Sequence[Any], second: Sequence[Any]
) -> dict[str, float]:
    """The values of all metrics with this kind of inputs, by name."""
    return {
        name: float(metric.compute(first, second))
        for name, metric in metrics().items()
        if metric.computed_from == kind
    }


# Number of groups of the jackknife. Each costs one call of the metric.
GROUPS = 50


def item_values(
    compute: Callable[[Sequence[Any], Sequence[Any]], float],
    first: Sequence[Any],
    second: Sequence[Any],
    *,
    per_item: bool,
) -> list[float]:
    """One number for each item; their mean is the metric, their spread gives its standard error.

    For a metric over all items together, they are its jackknife values, leaving out one group of
    items at a time (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11).
    Items of a group have the same number; the spread is scaled up, so that the standard error is
    right although all items count as independent. Groups depend on the order of items only, so
    that two models can be compared item by item.

    Args:
        compute: The metric, a function of the two sequences.
        per_item: Whether the metric is a mean over the items.

    >>> item_values(lambda a, b: sum(x == y for x, y in zip(a, b)) / len(a), [1, 2], [1, 3],
    ...             per_item=True)
    [1.0, 0.0]
    """
    count = len(first)
    if per_item:
        return [float(compute([a], [b])) for a, b in zip(first, second, strict=True)]
    overall_value, groups = float(compute(first, second)), min(GROUPS, count)
    if groups < 2:
        return [overall_value] * count
    jackknife_values = []
    for group in range(groups):
        kept_items = [item for item in range(count) if item % groups != group]
        jackknife_values.append(
            compute([first[i] for i in kept_items], [second[i] for i in kept_items])
        )
    mean, factor = sum(jackknife_values) / groups, (groups - 1) * (count / groups) ** 0.5
    deviations = [factor * (mean - jackknife_values[item % groups]) for item in range(count)]
    center = overall_value - sum(deviations) / count
    return [center + deviation for deviation in deviations]
