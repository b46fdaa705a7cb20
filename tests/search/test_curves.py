from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.search.curves import PRIOR_DOUBT, ends, forecast, jitter
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


def test_what_all_curves_share_is_not_noise_between_them() -> None:
    generator = np.random.default_rng(1)
    shared = generator.normal(0, 0.2, 20)
    curves = [
        one({k: 1 + math.exp(-k / 4) + shared[k] + generator.normal(0, 0.02) for k in range(1, 20)})
        for _ in range(12)
    ]
    assert jitter(curves, 20) == pytest.approx(0.02, rel=0.2)
    assert jitter(curves[:1], 20) > 0.1


def test_a_trial_is_expected_to_gain_what_others_gained_with_less_doubt_the_more_there_are() -> (
    None
):
    seen = forecast(0.8, 0.5, [(0.6, 0.3)])
    assert seen is not None
    assert math.exp(seen.log_end) == pytest.approx(0.4)
    assert seen.doubt > PRIOR_DOUBT / 2
    more = forecast(0.8, 0.5, [(0.6, 0.3), (0.5, 0.25), (0.7, 0.35), (0.9, 0.45)])
    assert more is not None
    assert more.log_end == pytest.approx(seen.log_end)
    assert more.doubt < seen.doubt
    assert forecast(0.8, 0.5, []) is None


def test_where_trials_ended_anywhere_a_forecast_doubts_and_a_loss_tells_nothing() -> None:
    early = [0.60, 0.70, 0.61, 0.69, 0.62, 0.71]
    final = [0.50, 0.30, 0.45, 0.32, 0.47, 0.31]
    low, high = (forecast(loss, 0.5, list(zip(early, final, strict=True))) for loss in (0.6, 0.9))
    assert low is not None
    assert high is not None
    assert low.log_end == pytest.approx(high.log_end)
    assert low.doubt > 0.15


def test_less_is_doubted_the_less_of_the_budget_is_left() -> None:
    doubts = [forecast(0.8, left, [(0.6, 0.3)]) for left in (0.75, 0.5, 0.125)]
    assert [seen.doubt for seen in doubts if seen] == sorted(
        (seen.doubt for seen in doubts if seen), reverse=True
    )


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
