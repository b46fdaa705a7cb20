"""Perplexity and bits per byte, against figures that can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from sweeper.metrics.metric import compute_metrics


def test_perplexity_weighs_items_by_their_tokens() -> None:
    losses, tokens = [math.log(2), 2 * math.log(2)], [4, 1]
    assert compute_metrics("tokens", losses, tokens) == {"perplexity": pytest.approx(2**1.2)}
    assert compute_metrics("tokens", [1e6], [1])["perplexity"] < math.inf


def test_bits_per_byte_count_the_bytes_of_the_answers() -> None:
    nats, answer_bytes = [4 * math.log(2), 2 * math.log(2)], [2, 4]
    assert compute_metrics("bytes", nats, answer_bytes) == {"bits_per_byte": pytest.approx(1.0)}
