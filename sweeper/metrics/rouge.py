"""ROUGE F-measures (W04-1013), as rouge-score has them; the best reference of each item counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sweeper.metrics.base import TaskMetric


def rouge(kind: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The mean over the items, from 0 to 1.

    Args:
        kind: ``rouge1``, ``rouge2`` or ``rougeL``.
        answers: One an item.
        references: All accepted answers of each item.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    scorer = RougeScorer([kind], use_stemmer=True)
    scores = [
        scorer.score_multi(accepted, answer)[kind].fmeasure
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return float(sum(scores) / len(scores))


ROUGE_1 = TaskMetric(
    "rouge1", "ROUGE-1", "answers", "%", partial(rouge, "rouge1"), 70, shown=False, per_item=True
)
ROUGE_2 = TaskMetric(
    "rouge2", "ROUGE-2", "answers", "%", partial(rouge, "rouge2"), 71, shown=False, per_item=True
)
ROUGE_L = TaskMetric(
    "rougeL", "ROUGE-L", "answers", "%", partial(rouge, "rougeL"), 72, per_item=True
)
