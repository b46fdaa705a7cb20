"""The share of items whose class is predicted right."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def accuracy(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """From 0 to 1."""
    return sum(a == b for a, b in zip(predicted, targets, strict=True)) / len(targets)


METRIC = TaskMetric("accuracy", "accuracy", "classes", "%", accuracy, place=10, per_item=True)
