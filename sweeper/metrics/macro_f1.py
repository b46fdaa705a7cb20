"""The mean over the classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def macro_f1(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """From 0 to 1; a class that is never predicted counts as 0."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predicted, average="macro", zero_division=0))


METRIC = TaskMetric("macro_f1", "macro-F1", "classes", "%", macro_f1, place=20)
