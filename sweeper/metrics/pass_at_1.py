"""The share of tasks whose first program passes its tests (arXiv:2107.03374, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def pass_at_1(passed: Sequence[float], _same: Sequence[float]) -> float:
    """From 0 to 1."""
    return sum(passed) / len(passed)


METRIC = TaskMetric("pass@1", "pass@1", "programs", "%", pass_at_1, place=90, per_item=True)
