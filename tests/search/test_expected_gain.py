from __future__ import annotations

import math

import optuna
import pytest
from spaces import RATE

from sweeper.search import optuna_space
from sweeper.search.engine import Rung, RungCount, Space, StopCondition, StrategySpace, search
from sweeper.search.expected_gain import FEWEST_TRIALS, ExpectedGain, expected_gain
from sweeper.search.loss_model.observations import History
from sweeper.search.loss_model.untrained import Untrained
from sweeper.search.sampler import SweeperSampler

SPACE = Space(
    [StrategySpace("lora", {"learning_rate": RATE}, begins_as_base=True)], RungCount(8, 2)
)


def curve(end: float, wobble: float):
    for rung in range(1, 9):
        yield Rung(
            rung, end + (1 - end) * math.exp(-rung / 2) + wobble * (-1) ** rung, seconds=2.0 * rung
        )
    return end


def flat(strategy, parameters):
    """Nothing matters but chance, which follows from the rate's digits."""
    chance = math.sin(1e6 * parameters["learning_rate"])
    yield from curve(0.5 + 0.01 * chance, 0.05 * chance)
    return 0.5 + 0.01 * chance


def steep(strategy, parameters):
    away = math.log10(parameters["learning_rate"] / 5e-3)
    yield from curve(0.3 + 0.2 * away**2, 0.0)
    return 0.3 + 0.2 * away**2


def test_a_search_that_chance_decides_ends_by_itself_and_says_why() -> None:
    searched = search(SPACE, flat, StopCondition(trials=60, while_worth_it=True))
    assert FEWEST_TRIALS <= len(searched.trials) < 60
    assert "the next trial is expected to lower the loss by" in searched.because
    assert "two seeds differ by" in searched.because


def test_it_does_not_end_while_the_best_lies_ahead() -> None:
    searched = search(SPACE, steep, StopCondition(trials=60, while_worth_it=True))
    assert searched.best is not None
    assert searched.best.loss == pytest.approx(0.3, abs=0.01)


def seldom(strategy, parameters):
    """Reports at half and at the end alone, from which no noise can be told."""
    for rung in flat(strategy, parameters):
        if rung.rung % 4 == 0:
            yield rung


def test_where_curves_cannot_tell_noise_it_is_taken_for_a_hundredth_of_the_loss() -> None:
    searched = search(SPACE, seldom, StopCondition(trials=60, while_worth_it=True))
    assert FEWEST_TRIALS <= len(searched.trials) < 60
    assert searched.best is not None
    assert f"two seeds differ by {searched.best.loss / 100:.2g}" in searched.because


def test_it_does_not_end_before_every_strategy_had_a_turn() -> None:
    names = [f"strategy-{number}" for number in range(FEWEST_TRIALS + 2)]
    many = Space([StrategySpace(name, {"learning_rate": RATE}) for name in names], RungCount(8, 2))
    searched = search(many, flat, StopCondition(trials=20, while_worth_it=True), starts=[])
    assert {one.strategy for one in searched.trials} == set(names)


def test_few_trials_say_nothing() -> None:
    study = optuna.create_study()
    assert expected_gain(SweeperSampler(SPACE), History(SPACE.budget).of(study.trials)) is None


def test_it_expects_what_the_sampler_expects_that_knows_untrained_models() -> None:
    known = optuna_space.distributions(SPACE)
    study = optuna.create_study()
    for step in range(FEWEST_TRIALS):
        params = {optuna_space.STRATEGY: "lora", "lora.learning_rate": 2e-4 * 1.2**step}
        loss = 0.5 - 0.01 * step
        study.add_trial(optuna.trial.create_trial(params=params, distributions=known, value=loss))
    plain = expected_gain(SweeperSampler(SPACE), History(SPACE.budget).of(study.trials))
    told = expected_gain(
        SweeperSampler(SPACE), History(SPACE.budget).of(study.trials), Untrained(bases={"": 3.0})
    )
    assert plain is not None
    assert told is not None
    assert told.gain != plain.gain


def test_a_gain_far_under_the_noise_is_not_worth_a_trial() -> None:
    assert ExpectedGain(0.01, 0.02, "lora").worth_it
    assert not ExpectedGain(0.001, 0.02, "lora").worth_it
