from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.search.curves import ends, foretelling, jitter
from sweeper.search.observations import Observation, best_so_far


def one(losses: dict[int, float], loss: float | None = None) -> Observation:
    return Observation(
        0, "lora", {}, loss, loss is not None, False, False, "search", best_so_far(losses), losses
    )


def test_the_noise_of_a_rung_is_found_under_a_bent_curve() -> None:
    generator = np.random.default_rng(0)
    curves = [
        one({k: 1 + math.exp(-k / 4) + generator.normal(0, 0.05) for k in range(1, 20)})
        for _ in range(30)
    ]
    assert jitter(curves, 20) == pytest.approx(0.05, rel=0.15)
    smooth = one({k: 1 + math.exp(-k / 4) for k in range(1, 20)})
    assert jitter([smooth], 20) < 0.003


def test_the_last_rung_does_not_count_as_noise_since_it_scores_other_items() -> None:
    jump = one({1: 1.0, 2: 0.9, 3: 0.8, 4: 0.7, 5: 0.1})
    assert jitter([jump], 5) == pytest.approx(0.0, abs=1e-12)
    assert jitter([one({1: 1.0, 2: 0.9})], 8) == 0.0


def test_a_line_through_ends_knows_slope_and_scatter_and_needs_enough_of_them() -> None:
    pairs = [(early, 0.5 * early + 0.1) for early in (0.2, 0.4, 0.6, 0.8, 1.0)]
    line = foretelling(pairs)
    assert line is not None
    assert line.slope == pytest.approx(0.5)
    assert line.scatter == pytest.approx(0.0, abs=1e-9)
    assert foretelling(pairs[:4]) is None
    assert foretelling([(0.5, 0.1)] * 6) is None


def test_ends_are_of_completed_trials_that_passed_the_rung() -> None:
    trials = [one({1: 0.9, 2: 0.6}, 0.5), one({1: 0.9, 2: 0.6}), one({1: 0.8}, 0.4)]
    assert ends(trials, 2) == [(0.6, 0.5)]


def test_the_best_so_far_passes_over_what_is_not_finite() -> None:
    assert best_so_far({1: math.nan, 2: 0.5, 3: 0.7, 4: math.inf, 5: 0.4}) == {
        2: 0.5,
        3: 0.5,
        4: 0.5,
        5: 0.4,
    }
