"""Bits per UTF-8 byte of the answers, by which models with other tokenizers can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.metrics.base import TaskMetric


def bits_per_byte(nats: Sequence[float], answer_bytes: Sequence[float]) -> float:
    """From the nats of each item and the bytes of its answer."""
    return float(sum(nats) / math.log(2) / max(sum(answer_bytes), 1.0))


METRIC = TaskMetric("bits_per_byte", "bits per byte", "bytes", "", bits_per_byte, place=40)
