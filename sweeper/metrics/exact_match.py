"""The share of answers that equal an accepted one, up to case and white space."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import normalised
from sweeper.metrics.base import TaskMetric


def exact_match(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """From 0 to 1."""
    same = [
        normalised(answer) in {normalised(reference) for reference in accepted}
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return sum(same) / len(same)


METRIC = TaskMetric("exact_match", "exact match", "answers", "%", exact_match, 80, per_item=True)
