from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import report

from sweeper.plans import Parameter
from sweeper.search.alone import (
    SearchResult,
    Space,
    StopCondition,
    StrategySpace,
    TrialBudget,
    search,
)

FULL = TrialBudget(rungs=8, first_rung=2, epochs=4.0)
RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
EPOCHS = Parameter(
    kind="categorical", choices=(1.0, 2.0, 4.0), allowed_choices=(1.0, 2.0, 4.0), default=4.0,
    source="test",
)  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "rungs"),
    [({}, 8), ({"num_train_epochs": 4.0}, 8), ({"num_train_epochs": 2.0}, 4),
     ({"num_train_epochs": 1}, 2), ({"num_train_epochs": 0.01}, 1), ({"num_train_epochs": 9.0}, 8)],
)  # fmt: skip
def test_a_trial_has_as_many_rungs_as_its_epochs_are_of_a_full_budget(
    parameters: dict[str, float], rungs: int
) -> None:
    assert FULL.rungs_of(parameters) == rungs
    assert TrialBudget().rungs_of(parameters) == 8


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_no_trial_is_without_a_rung_or_has_more_than_there_are(epochs: float, full: float) -> None:
    assert 1 <= TrialBudget(epochs=full).rungs_of({"num_train_epochs": epochs}) <= 8


def searched(seed: int, overfits: bool) -> SearchResult:
    """Trials that gain nothing after two rungs, or lose by them where they overfit."""

    def objective(strategy, parameters):  # type: ignore[no-untyped-def]
        rungs = FULL.rungs_of(parameters)
        away = abs(parameters["learning_rate"] - 2e-4) * 100
        for rung in range(1, rungs + 1):
            beyond = 0.1 * max(0, rung - 2) if overfits else 0.0
            yield report(rung, 0.5 + away + 1 / 2**rung + beyond, float(rung))
        return 0.5 + away + 1 / 2**rungs + (0.1 * max(0, rungs - 2) if overfits else 0.0)

    parameters = {"learning_rate": RATE, "num_train_epochs": EPOCHS}
    lora = StrategySpace(strategy="lora", parameters=parameters)
    space = Space(candidates=[lora], budget=FULL, seed=seed)
    return search(space, objective, StopCondition(trials=12), pruner="optuna:NopPruner")


@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_that_shorter_trials_end_better_and_pays_less_for_it(seed: int) -> None:
    found = searched(seed, overfits=True)
    assert found.best is not None
    assert found.best.config.parameters["num_train_epochs"] == 1.0
    full = sum(one.config.parameters["num_train_epochs"] == 4.0 for one in found.trials)
    assert full < 6
    assert found.seconds < 0.6 * 8 * 12
    assert all(max(one.reports) == FULL.rungs_of(one.config.parameters) for one in found.trials)


def test_where_more_training_is_better_the_best_trial_is_a_long_one() -> None:
    best = searched(0, overfits=False).best
    assert best is not None
    assert best.config.parameters["num_train_epochs"] == 4.0
