"""The exponential of the loss per token: of models with one tokenizer only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric

_LARGEST = 700.0  # the exponential of more is no number


def perplexity(losses: Sequence[float], tokens: Sequence[float]) -> float:
    """From the mean nats per token of each item, weighted by its tokens."""
    nats = sum(loss * count for loss, count in zip(losses, tokens, strict=True))
    return math.exp(min(float(nats / sum(tokens)), _LARGEST))


METRIC = TaskMetric("perplexity", "perplexity", "tokens", "", perplexity, place=30)
