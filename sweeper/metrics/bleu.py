"""Corpus BLEU (arXiv:1804.08771, 13a tokenisation) and chrF2 (W15-3049), as sacrebleu has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.metrics.base import TaskMetric


def bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """From 0 to 100, with all accepted references of each item."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU().corpus_score(list(answers), _by_rank(references)).score)


def chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Likewise, over n-grams of characters."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(answers), _by_rank(references)).score)


def _by_rank(references: Sequence[Sequence[str]]) -> list[Any]:
    """All first references, all second ones, ...; None where an item has no more."""
    most = max(map(len, references))
    return [
        [accepted[rank] if rank < len(accepted) else None for accepted in references]
        for rank in range(most)
    ]


BLEU_METRIC = TaskMetric("bleu", "BLEU", "answers", "0 to 100", bleu, place=50)
CHRF_METRIC = TaskMetric("chrf", "chrF", "answers", "0 to 100", chrf, place=60)
