"""Perplexity and bits per byte, against figures that can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from sweeper.metrics.metric import compute_metrics, metrics


def test_perplexity_weighs_items_by_their_tokens() -> None:
    losses, tokens = [math.log(2), 2 * math.log(2)], [4, 1]
    assert compute_metrics("tokens", losses, tokens) == {"perplexity": pytest.approx(2**1.2)}
    assert compute_metrics("tokens", [1e6], [1])["perplexity"] < math.inf


def test_bits_per_byte_count_the_bytes_of_the_answers() -> None:
    nats, answer_bytes = [4 * math.log(2), 2 * math.log(2)], [2, 4]
    assert compute_metrics("bytes", nats, answer_bytes) == {"bits_per_byte": pytest.approx(1.0)}


def test_names_titles_and_places_are_each_ones_own() -> None:
    known = metrics()
    assert {"accuracy", "macro_f1", "chrf", "exact_match", "perplexity"} <= set(known)
    assert len({one.title for one in known.values()}) == len(known)
    assert len({one.order for one in known.values()}) == len(known)
