"""Weighted items: plain means of what comes out are the weighted ones, with their spread."""

import numpy as np
import pytest

from sweeper.evaluation.significance import Scores, mean_interval, paired_difference, weighted

WEIGHTS = np.array([1.0, 2.0, 30.0, 0.0, 7.0])
ROWS = np.array([[1.0, 2.0, 3.0, 9.0, 5.0], [2.0, 1.0, 4.0, 8.0, 5.5]])


def test_plain_means_become_weighted_means():
    expected = np.average(ROWS, axis=1, weights=WEIGHTS)
    np.testing.assert_allclose(weighted(ROWS, WEIGHTS).mean(axis=1), expected)


def test_equal_weights_change_nothing():
    assert weighted(ROWS, np.full(5, 3.0)) is ROWS


def test_an_item_without_weight_does_not_matter():
    other = ROWS.copy()
    other[:, 3] += 100
    np.testing.assert_allclose(weighted(other, WEIGHTS), weighted(ROWS, WEIGHTS))


def test_differences_of_rows_stay_weighted_differences():
    first, second = (Scores.of([row], weights=WEIGHTS) for row in ROWS)
    expected = np.average(ROWS[0] - ROWS[1], weights=WEIGHTS)
    assert paired_difference(first, second).value == pytest.approx(expected)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [0.0] * 5, [1.0, 2.0, np.nan, 1.0, 1.0]])
def test_weights_that_say_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        weighted(ROWS, weights)


def test_the_interval_covers_the_weighted_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        # Long answers have lower losses: the plain mean is another figure altogether.
        weights = rng.lognormal(3, 0.8, 120)
        losses = 4 - 0.5 * np.log(weights) + rng.normal(0, 0.4, 120)
        found = mean_interval(Scores.of([losses], seed_noise=False, weights=weights))
        inside += found.low <= 2.18 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_the_true_weighted_mean_of_that_population_is_as_stated():
    rng = np.random.default_rng(6)
    weights = rng.lognormal(3, 0.8, 2_000_000)
    assert np.average(4 - 0.5 * np.log(weights), weights=weights) == pytest.approx(2.18, abs=0.01)
