from __future__ import annotations

import math

import numpy as np
import optuna
import pytest

from sweeper.plan import Parameter
from sweeper.search.engine import (
    Rung,
    RungCount,
    Searched,
    Space,
    StopCondition,
    StrategySpace,
    search,
)
from sweeper.search.feasible import log_chance
from sweeper.search.model import Model, Trials
from sweeper.search.observations import Observation, observation
from sweeper.search.pruner import View
from sweeper.search.sampler import SweeperSampler, known_of
from sweeper.search.stopping import outlook
from sweeper.search.study import CONSTRAINT

RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
REPLAY = Parameter(
    kind="categorical", choices=(0.0, 0.2), allowed_choices=(0.0, 0.2), default=0.0, source="test"
)


def space(seed: int) -> Space:
    parameters = {"learning_rate": RATE, "replay_share": REPLAY}
    return Space([StrategySpace("lora", parameters)], RungCount(8, 8), seed)


def forgets(limit: float):
    """Losses are lowest at 4e-3; what is forgotten grows with the rate, and replay halves it."""

    def objective(strategy, parameters):
        rate = parameters["learning_rate"]
        end = 0.3 + 0.2 * math.log10(rate / 4e-3) ** 2
        lost = 100 * (rate / 1e-3) ** 0.7 * (0.5 if parameters["replay_share"] else 1.0)
        for rung in range(1, 9):
            loss = end + (1 - end) * math.exp(-rung / 2)
            yield Rung(rung, loss, seconds=2.0 * rung, excess=(lost - limit) / 100)
        return end

    return objective


def within(searched: Searched, limit: float) -> float:
    """The lowest loss among trials that lose no more than the limit, whatever they were told."""
    objective = forgets(limit)
    kept = [
        one.loss
        for one in searched.trials
        if one.loss is not None and next(objective(one.strategy, one.parameters)).excess <= 0
    ]
    return min(kept)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_moves_away_from_an_optimum_that_breaks_the_limit(seed: int) -> None:
    free = search(space(seed), forgets(1e9), StopCondition(trials=16))
    bound = search(space(seed), forgets(50.0), StopCondition(trials=16))
    assert free.best is not None
    assert free.best.parameters["learning_rate"] == pytest.approx(4e-3, rel=0.6)
    assert bound.best is not None
    assert bound.best.keeps
    # 50 points are lost at a rate of 3.7e-4 without replay, and of 1e-3 with it.
    lowest = 0.3 + 0.2 * math.log10(1e-3 / 4e-3) ** 2
    assert bound.best.loss == pytest.approx(lowest, abs=0.02)
    assert bound.best.parameters["replay_share"] == 0.2
    assert within(free, 50.0) > bound.best.loss + 0.02


def test_where_no_trial_keeps_to_the_limit_the_search_goes_where_less_is_lost() -> None:
    # The default loses 32 points, and 12 are allowed: at rates under 5e-5, or 1.3e-4 with replay.
    searched = search(space(0), forgets(12.0), StopCondition(trials=14))
    assert not searched.trials[0].keeps
    assert searched.best is not None
    assert searched.best.keeps


def test_the_chance_to_keep_to_a_limit_falls_towards_where_it_was_broken() -> None:
    points = np.asarray([[0.0], [0.5], [1.0], [1.5]])
    excess = np.asarray([-0.2, -0.1, 0.3, 0.8])
    chances = np.exp(log_chance(points, excess, np.asarray([[0.1], [0.7], [1.4]]), [slice(0, 1)]))
    assert chances[0] > 0.9
    assert 0.1 < chances[1] < 0.9
    assert chances[2] < 0.05


def observed(number: int, loss: float, excess: float | None) -> Observation:
    curve = {rung: loss + 0.1 * (8 - rung) for rung in range(1, 9)}
    parameters = {"learning_rate": 2e-4, "replay_share": 0.0}
    return Observation(
        number, "lora", parameters, loss, complete=True, running=False, failed=False,
        origin="search", curve=curve, reported=curve, seconds=1.0, excess=excess,
    )  # fmt: skip


def test_trials_over_the_limit_are_neither_the_best_known_nor_what_others_are_stopped_by() -> None:
    over, within = observed(1, 0.3, 0.02), observed(2, 0.5, -0.01)
    assert known_of([over, within], RungCount()).best == 0.5
    assert known_of([over], RungCount()).best == math.inf
    assert within.rank < over.rank
    own = observed(3, 0.9, None)
    shown = observed(1, 0.3, None)
    far = View(own, 6, [over], [over], [over], 0.0).judge()
    assert not far.prune
    assert View(own, 6, [shown], [shown], [], 0.0).judge().prune


def test_a_trial_without_a_limit_of_its_own_is_no_measurement() -> None:
    trial = optuna.trial.create_trial(
        params={"strategy": "lora"},
        distributions={"strategy": optuna.distributions.CategoricalDistribution(["lora"])},
        value=0.5,
        system_attrs={CONSTRAINT: -math.inf},
    )
    assert observation(trial, RungCount()).excess is None
    assert observation(trial, RungCount()).keeps


def test_without_a_limit_nothing_is_weighed() -> None:
    seen = [observed(1, 0.3, None), observed(2, 0.5, -0.1)]
    model = Model(Trials({}, seen, RungCount()), lambda points: np.zeros(len(points)))
    rows = np.zeros((3, 0))
    assert (model._log_chances([observed(2, 0.5, -0.1)], rows) == 0.0).all()
    assert (model._log_chances([], rows) == 0.0).all()


def test_a_search_in_which_nothing_keeps_to_the_limit_is_not_called_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = [observed(number, 0.5 + 0.01 * number, 0.1) for number in range(12)]
    monkeypatch.setattr("sweeper.search.stopping.jitter", lambda seen: 0.01)
    assert outlook(SweeperSampler(space(0)), many) is None
