from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verdict.__main__ import Rate, false_alarms, standard_errors
from benchmarks.verdict.studies import (
    Recorded,
    World,
    losses,
    recorded,
    shared_deviations,
    study,
)
from sweeper.evaluation.significance import item_deviations


@pytest.fixture(scope="module")
def source() -> Recorded:
    return recorded("restaurants")


def test_alarms_are_rare_and_a_large_gain_is_found(source: Recorded) -> None:
    world = World(source, alike=False, accuracy=False, items=40)
    found = [study(world, seed) for seed in range(12)]
    alarms = false_alarms(found)
    assert {one.of for one in alarms.values()} == {12}
    assert all(one.claimed <= 3 for one in alarms.values())
    shift = source.shift(12 * standard_errors(found)["default"], accuracy=False)
    assert shift is not None
    better = [study(replace(world, shift=shift), seed) for seed in range(6)]
    assert sum(one.found and one.pays for one in better) >= 5


def test_equally_good_configurations_expect_the_same_loss(source: Recorded) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(len(source.configurations), size=(4000, source.noise.shape[1]))
    mixed = losses(source.configurations[rows, np.arange(source.noise.shape[1])]).mean(axis=1)
    assert mixed.mean() == pytest.approx(losses(source.configurations).mean(), rel=0.003)


def test_a_shift_brings_the_gain_or_is_none(source: Recorded) -> None:
    small, large = (source.shift(gain, accuracy=False) for gain in (0.01, 0.1))
    assert small is not None
    assert large is not None
    assert 0 < small < large
    assert source.shift(100.0, accuracy=False) is None


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    assert Rate(0, 2000).upper == pytest.approx(1 - 0.05 ** (1 / 2000))
    assert Rate(3, 3).upper == 1.0
    assert Rate(46, 2000).lower < 0.023 < Rate(46, 2000).upper


def test_more_seeds_are_trained_only_where_they_dominate(source: Recorded) -> None:
    world = World(source, alike=True, accuracy=False, items=40, most_seeds=5)
    assert {study(world, seed).seeds for seed in range(6)} <= {3, 5}
    assert study(replace(world, most_seeds=0), 0).seeds == 3


@pytest.mark.parametrize(
    ("values", "pseudo"),
    [
        ([-1.0, -1 / 3, 0.0, 0.0, 0.0, 1 / 3, 2 / 3], {-1.0: 0.5, 1.0: 0.5}),
        ([0.0, 1 / 3, 1.0, 1.0], {0.0: 2.0, 1.0: 2.0}),
        ([-0.5, 0.0, 0.25], {}),
        (list(np.random.default_rng(1).normal(size=100)), {}),
    ],
    ids=["differences", "scores", "without pseudo-items", "many values"],
)
def test_shared_resamples_are_distributed_as_those_of_the_verdict(
    values: list[float], pseudo: dict[float, float]
) -> None:
    items = np.resize(np.array(values), 100)
    shared = shared_deviations(items, np.random.default_rng(0), pseudo)
    own = item_deviations(items, np.random.default_rng(0), pseudo)
    spread = own.std()
    assert shared.shape == own.shape
    assert shared.mean() == pytest.approx(0.0, abs=0.06 * spread)
    assert shared.std() == pytest.approx(spread, rel=0.05)
