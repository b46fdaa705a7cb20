"""How near generated texts come to their references: BLEU, chrF, ROUGE, exact match.

Knows strings only. The figures are those of sacrebleu and rouge-score; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from sweeper.data.examples import normalised

_ROUGE = ("rouge1", "rouge2", "rougeL")


def text_match(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Corpus BLEU and chrF (0 to 100), mean ROUGE F-measures and exact match (0 to 1).

    Args:
        answers: What the model wrote, one for each item.
        references: All accepted answers of each item; at least one each.

    Source:
        BLEU: arXiv:1804.08771 (sacrebleu, 13a tokenisation); chrF: W15-3049; ROUGE: W04-1013.
        With several references ROUGE takes the best of them for each item.
    """
    bleu = BLEU().corpus_score(list(answers), _by_rank(references))
    chrf = CHRF().corpus_score(list(answers), _by_rank(references))
    exact = [
        normalised(answer) in {normalised(reference) for reference in accepted}
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return {
        "bleu": float(bleu.score),
        "chrf": float(chrf.score),
        **_rouge(answers, references),
        "exact_match": float(np.mean(exact)),
    }


def _by_rank(references: Sequence[Sequence[str]]) -> list[Any]:
    """All first references, all second ones, ...; None where an item has no more."""
    most = max(map(len, references))
    return [
        [accepted[rank] if rank < len(accepted) else None for accepted in references]
        for rank in range(most)
    ]


def _rouge(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    scorer = RougeScorer(list(_ROUGE), use_stemmer=True)
    scores = [
        scorer.score_multi(accepted, answer)
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return {name: float(np.mean([score[name].fmeasure for score in scores])) for name in _ROUGE}
