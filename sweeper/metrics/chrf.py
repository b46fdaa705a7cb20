"""Character n-gram F-score, chrF2 (W15-3049), as sacrebleu has it."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric
from sweeper.metrics.references import by_rank


def chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """From 0 to 100, with all accepted references of each item."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(answers), by_rank(references)).score)


METRIC = TaskMetric("chrf", "chrF", "answers", "0 to 100", chrf, place=60)
