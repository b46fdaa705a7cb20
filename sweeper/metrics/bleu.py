"""Corpus BLEU as sacrebleu has it (arXiv:1804.08771, 13a tokenisation)."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric
from sweeper.metrics.references import by_rank


def bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """From 0 to 100, with all accepted references of each item."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU().corpus_score(list(answers), by_rank(references)).score)


METRIC = TaskMetric("bleu", "BLEU", "answers", "0 to 100", bleu, place=50)
