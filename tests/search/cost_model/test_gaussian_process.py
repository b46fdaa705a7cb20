from __future__ import annotations

import numpy as np
import pytest

from sweeper.search.cost_model.gaussian_process import GaussianProcess

GENERATOR = np.random.default_rng(0)
POINTS = GENERATOR.uniform(0, 3, (24, 2))
LOSSES = np.sin(2 * POINTS[:, 0])


def test_losses_are_predicted_where_they_are_known_and_doubted_elsewhere() -> None:
    fitted = GaussianProcess.fit(POINTS, LOSSES, 0.01)
    mean, deviation = fitted.predict(POINTS)
    assert mean == pytest.approx(LOSSES, abs=0.1)
    assert deviation.max() < fitted.predict(np.asarray([[30.0, 30.0]]))[1][0]


def test_losses_may_be_said_to_vary_more_than_the_first_few_do() -> None:
    alike = np.full(3, 0.5)
    narrow, wide = (GaussianProcess.fit(POINTS[:3], alike, 0.001, spread) for spread in (0.0, 0.1))
    far = np.asarray([[30.0, 30.0]])
    assert wide.predict(far)[1][0] == pytest.approx(0.1)
    assert narrow.predict(far)[1][0] < 0.01


def test_losses_of_another_candidate_say_where_to_go_whatever_its_level() -> None:
    slope = np.asarray([[0.0, 0.0], [0.7, 0.0], [1.4, 0.0]])
    other = np.hstack([slope[:, :1], np.full((3, 1), 0.7)])
    losses = np.asarray([0.5, 1.0, 0.8, 0.6])  # only one of our own, three of another's
    points, whose = np.vstack([slope[:1], other]), np.asarray([0, 1, 1, 1])
    ours = {}
    for level in (0.0, 5.0):
        shifted = losses + level * (whose == 1)
        fitted = GaussianProcess.fit(points, shifted, 0.01, 0.2, candidates=whose)
        ours[level] = fitted.predict(slope[1:])[0]
        assert ours[level][1] < ours[level][0] < 0.5
    alone = GaussianProcess.fit(slope[:1], losses[:1], 0.01, 0.2).predict(slope[1:])[0]
    assert alone.tolist() == [0.5, 0.5]


def test_our_own_losses_outweigh_those_of_another_candidate() -> None:
    points = np.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 0.7], [1.0, 0.7]])
    losses, whose = np.asarray([0.5, 0.7, 0.7, 0.5]), np.asarray([0, 0, 1, 1])
    mean, _ = GaussianProcess.fit(points, losses, 0.01, 0.2, candidates=whose).predict(points[:2])
    assert mean == pytest.approx([0.5, 0.7], abs=0.02)
