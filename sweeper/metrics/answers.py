"""The metrics: of classes, of losses on text, of answers against references, of programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from sweeper.data.examples import normalised
from sweeper.metrics.metric import TaskMetric


def accuracy(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """The share of items whose class is predicted correctly, from 0 to 1."""
    return sum(a == b for a, b in zip(predicted, targets, strict=True)) / len(targets)


def macro_f1(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """The mean over the classes of the harmonic mean of precision and recall, from 0 to 1.

    A class that is never predicted counts as 0.
    """
    predictions, true = Counter(predicted), Counter(targets)
    right = Counter(a for a, b in zip(predicted, targets, strict=True) if a == b)
    classes = predictions.keys() | true.keys()
    # F1 = 2 tp / (2 tp + fp + fn) of each class that is predicted or true.
    return sum(2 * right[c] / (predictions[c] + true[c]) for c in sorted(classes)) / len(classes)


ACCURACY = TaskMetric("accuracy", "accuracy", "classes", "%", accuracy, order=10, per_item=True)
MACRO_F1 = TaskMetric("macro_f1", "macro-F1", "classes", "%", macro_f1, order=20)

References = Sequence[Sequence[str]]
"""All accepted answers of each item."""


def bleu(answers: Sequence[str], references: References) -> float:
    """Corpus BLEU of sacrebleu (arXiv:1804.08771, 13a tokenisation), from 0 to 100."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU().corpus_score(list(answers), _reference_columns(references)).score)


def chrf(answers: Sequence[str], references: References) -> float:
    """ChrF2 of sacrebleu (W15-3049), over n-grams of characters, from 0 to 100."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(answers), _reference_columns(references)).score)


def _reference_columns(references: References) -> list[Any]:
    """The first references of all items, then the second ones, ...; None if an item has fewer."""
    return [list(column) for column in zip_longest(*references)]


def rouge(kind: str, answers: Sequence[str], references: References) -> float:
    """The mean F-measure of rouge-score (W04-1013), from 0 to 1, with each item's best reference.

    Args:
        kind: ``rouge1``, ``rouge2`` or ``rougeL``.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    scorer = RougeScorer([kind], use_stemmer=True)
    scores = [
        scorer.score_multi(accepted, answer)[kind].fmeasure
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return float(sum(scores) / len(scores))


def exact_match(answers: Sequence[str], references: References) -> float:
    """The share of answers that equal an accepted one, except for case and white space."""
    matches = [
        normalised(answer) in {normalised(reference) for reference in accepted}
        for answer, accepted in zip(answers, references, strict=True)
    ]
    return sum(matches) / len(matches)


def pass_at_1(passed: Sequence[float], _passed_again: Sequence[float]) -> float:
    """The share of items whose first program passes its tests (arXiv:2107.03374, section 2.1).

    Every metric takes two sequences; here both are the same.
    """
    return sum(passed) / len(passed)


def _rouge(name: str, title: str, order: int, *, shown: bool) -> TaskMetric:
    compute = partial(rouge, name)
    return TaskMetric(name, title, "answers", "%", compute, order, shown=shown, per_item=True)


BLEU_METRIC = TaskMetric("bleu", "BLEU", "answers", "0 to 100", bleu, order=50)
CHRF_METRIC = TaskMetric("chrf", "chrF", "answers", "0 to 100", chrf, order=60)
ROUGE_1 = _rouge("rouge1", "ROUGE-1", 70, shown=False)
ROUGE_2 = _rouge("rouge2", "ROUGE-2", 71, shown=False)
ROUGE_L = _rouge("rougeL", "ROUGE-L", 72, shown=True)
EXACT_MATCH = TaskMetric(
    "exact_match", "exact match", "answers", "%", exact_match, order=80, per_item=True
)
PASS_AT_1 = TaskMetric("pass@1", "pass@1", "programs", "%", pass_at_1, order=90, per_item=True)

_MAX_EXPONENT = 700.0  # math.exp overflows above 709


def perplexity(losses: Sequence[float], tokens: Sequence[float]) -> float:
    """The exponential of the loss per token; comparable only between models with one tokenizer.

    Args:
        losses: Mean nats per token of each item.
        tokens: Tokens of each item.
    """
    nats = sum(loss * count for loss, count in zip(losses, tokens, strict=True))
    return math.exp(min(float(nats / sum(tokens)), _MAX_EXPONENT))


def bits_per_byte(nats: Sequence[float], answer_bytes: Sequence[float]) -> float:
    """Bits per UTF-8 byte of the answers; comparable between models with different tokenizers.

    Args:
        nats: Nats of each item.
        answer_bytes: Bytes of each item's answer.
    """
    return float(sum(nats) / math.log(2) / max(sum(answer_bytes), 1.0))


PERPLEXITY = TaskMetric("perplexity", "perplexity", "tokens", "", perplexity, order=30)
BITS_PER_BYTE = TaskMetric("bits_per_byte", "bits per byte", "bytes", "", bits_per_byte, order=40)
