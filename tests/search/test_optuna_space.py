from __future__ import annotations

import optuna
import pytest
from curve_backend import FULL, HEAD, candidate, make_plan
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from sweeper.plans import Configuration
from sweeper.search import optuna_space


def test_distributions_are_registered_once_at_the_allowed_range() -> None:
    known = optuna_space.distributions(make_plan())
    assert known["strategy"] == CategoricalDistribution(("lora", "full", "head"))
    assert known["lora.learning_rate"] == FloatDistribution(1e-5, 1e-2, log=True)
    assert known["lora.r"] == IntDistribution(1, 256, log=True)
    assert known["full.per_device_train_batch_size"] == CategoricalDistribution((16, 8, 32)) or (
        set(known["full.per_device_train_batch_size"].choices) == {8, 16, 32}
    )
    assert "lora.lora_dropout" not in known
    assert not [name for name in known if name.startswith("head.")]


def test_values_of_the_users_own_trials_belong_to_the_study() -> None:
    own = Configuration(
        origin="user",
        strategy="full",
        parameters={"learning_rate": 0.5, "per_device_train_batch_size": 64},
    )
    known = optuna_space.distributions(make_plan().model_copy(update={"own_trials": (own,)}))
    assert known["full.learning_rate"] == FloatDistribution(1e-6, 0.5, log=True)
    assert 64 in known["full.per_device_train_batch_size"].choices


@pytest.mark.parametrize(
    ("fixed", "key", "parameters"),
    [
        (
            {
                "strategy": "lora", "lora.learning_rate": 2e-4, "lora.r": 8,
                "lora.head_init": "probe",
            },
            "lora",
            {"learning_rate": 2e-4, "r": 8, "head_init": "probe", "lora_dropout": 0.05},
        ),
        (
            {
                "strategy": "lora", "lora.learning_rate": 2e-4, "lora.r": 8,
                "lora.head_init": "random", "lora.head_learning_rate": 1e-2,
            },
            "lora",
            {
                "learning_rate": 2e-4, "r": 8, "head_init": "random",
                "head_learning_rate": 1e-2, "lora_dropout": 0.05,
            },
        ),
        ({"strategy": "head"}, "head", {"regularisation": 1.0}),
    ],
)  # fmt: skip
def test_suggesting_asks_for_the_strategys_parameters_whose_condition_holds(
    fixed: dict, key: str, parameters: dict
) -> None:
    assert optuna_space.suggest(FixedTrial(fixed), make_plan()) == (key, parameters)


def test_overrides_replace_what_is_not_searched() -> None:
    _, parameters = optuna_space.suggest(
        FixedTrial({"strategy": "head"}), make_plan(), {"regularisation": 3.0}
    )
    assert parameters == {"regularisation": 3.0}


def test_a_trial_that_is_asked_again_keeps_its_parameters() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    first = optuna_space.suggest(trial, make_plan())
    study.sampler = optuna.samplers.RandomSampler(seed=2)
    again = optuna.Trial(study, trial._trial_id)
    assert optuna_space.suggest(again, make_plan()) == first


def test_several_models_make_candidates_of_their_own() -> None:
    plan = make_plan()
    other = candidate("full", FULL).model_copy(update={"model": "org/big-1.5"})
    plan = plan.model_copy(update={"candidates": (*plan.candidates, other)})
    assert list(plan.keyed) == ["lora", "full@tiny", "head", "full@org/big-1.5"]
    assert "full@org/big-1.5.learning_rate" in optuna_space.distributions(plan)


def test_a_head_path_or_a_strategy_without_searched_parameters_is_searched_no_further() -> None:
    assert candidate("full", FULL).searchable
    once = candidate("head", FULL).model_copy(update={"one_trial": True})
    assert not once.searchable
    assert not candidate("other", HEAD).searchable
