"""Metrics of losses on text: perplexity, and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric

_LARGEST = 700.0  # the exponential of more is no number


def perplexity(losses: Sequence[float], tokens: Sequence[float]) -> float:
    """The exponential of the loss per token: of models with one tokenizer only.

    From the mean nats per token of each item, weighted by its tokens.
    """
    nats = sum(loss * count for loss, count in zip(losses, tokens, strict=True))
    return math.exp(min(float(nats / sum(tokens)), _LARGEST))


def bits_per_byte(nats: Sequence[float], answer_bytes: Sequence[float]) -> float:
    """Bits per UTF-8 byte of the answers, by which models with other tokenizers can be compared.

    From the nats of each item and the bytes of its answer.
    """
    return float(sum(nats) / math.log(2) / max(sum(answer_bytes), 1.0))


PERPLEXITY = TaskMetric("perplexity", "perplexity", "tokens", "", perplexity, place=30)
BITS_PER_BYTE = TaskMetric("bits_per_byte", "bits per byte", "bytes", "", bits_per_byte, place=40)
