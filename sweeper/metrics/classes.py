"""Metrics of predicted classes: accuracy and macro-F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def accuracy(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """The share of items whose class is predicted right, from 0 to 1."""
    return sum(a == b for a, b in zip(predicted, targets, strict=True)) / len(targets)


def macro_f1(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """The mean over the classes of the harmonic mean of precision and recall, from 0 to 1.

    A class that is never predicted counts as 0.
    """
    said, true = Counter(predicted), Counter(targets)
    right = Counter(a for a, b in zip(predicted, targets, strict=True) if a == b)
    classes = said.keys() | true.keys()
    # 2 tp / (2 tp + fp + fn), of every class that is predicted or true.
    return sum(2 * right[c] / (said[c] + true[c]) for c in sorted(classes)) / len(classes)


ACCURACY = TaskMetric("accuracy", "accuracy", "classes", "%", accuracy, place=10, per_item=True)
MACRO_F1 = TaskMetric("macro_f1", "macro-F1", "classes", "%", macro_f1, place=20)
