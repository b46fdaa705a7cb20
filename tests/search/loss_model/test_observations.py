from __future__ import annotations

import optuna
from spaces import SPACE

from sweeper.search.loss_model.observations import History, Observation, attribute, noted_items
from sweeper.trials import FirstItems


def test_only_a_trial_that_changed_is_read_again_and_another_study_is_read_anew() -> None:
    study, history = optuna.create_study(), History(SPACE.budget)
    for _ in range(2):
        trial = study.ask()
        trial.suggest_categorical("strategy", ["lora"])
        study.tell(trial, 0.5)
    running = study.ask()
    running.suggest_categorical("strategy", ["lora"])
    first = history.of(study.get_trials(deepcopy=False))
    running.report(0.4, 1)
    second = history.of(study.get_trials(deepcopy=False))
    assert [one is two for one, two in zip(first, second, strict=True)] == [True, True, False]
    assert second[2].curve == {1: 0.4}
    assert history.beside(second[2]) == second[:2]
    assert history.of([]) == []
    other = optuna.create_study()
    other.ask().suggest_categorical("strategy", ["full"])
    assert [one.key for one in history.of(other.get_trials(deepcopy=False))] == ["full"]


def test_a_study_keeps_what_rungs_tell_of_their_items() -> None:
    study = optuna.create_study()
    trial = study.ask()
    told = {2: FirstItems.among([0.1, 0.2], 100), 4: FirstItems.among([0.05, 0.1], 100)}
    for rung, one in told.items():
        trial.set_user_attr(*attribute(rung, one))
    trial.set_user_attr("sweeper:seconds", 3.0)
    assert noted_items(study.trials[0].user_attrs) == told


def test_a_perfect_trial_ranks_first() -> None:
    costs = (0.2, 0.0, None)
    seen = [
        Observation(
            number,
            "lora",
            {},
            cost,
            complete=cost is not None,
            running=False,
            failed=False,
            origin="search",
        )
        for number, cost in enumerate(costs)
    ]
    assert [one.number for one in sorted(seen, key=lambda one: one.rank)] == [1, 0, 2]
