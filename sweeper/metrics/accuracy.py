"""The share of items whose class is predicted right."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def accuracy(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """From 0 to 1."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(targets, predicted))


METRIC = TaskMetric("accuracy", "accuracy", "classes", "%", accuracy, place=10)
