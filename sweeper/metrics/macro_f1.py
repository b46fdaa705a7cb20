"""The mean over the classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def macro_f1(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """From 0 to 1; a class that is never predicted counts as 0."""
    said, true = Counter(predicted), Counter(targets)
    right = Counter(a for a, b in zip(predicted, targets, strict=True) if a == b)
    classes = said.keys() | true.keys()
    # 2 tp / (2 tp + fp + fn), of every class that is predicted or true.
    return sum(2 * right[c] / (said[c] + true[c]) for c in sorted(classes)) / len(classes)


METRIC = TaskMetric("macro_f1", "macro-F1", "classes", "%", macro_f1, place=20)
