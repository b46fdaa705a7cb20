from __future__ import annotations

import re
from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.planning.planner import make_plan
from sweeper.search import optuna_space
from sweeper.spec import Places, Spec


def plan(scene: Any, *trials: dict[str, Any]) -> Any:
    spec, facts = scene()
    return make_plan(Spec.model_validate(spec.model_dump() | {"trials": trials}), facts)


def test_own_values_outside_of_the_allowed_range_are_the_users_right(scene: Any) -> None:
    values = {"learning_rate": 0.5, "r": 1000, "per_device_train_batch_size": 24}
    own = {"strategy": "lora", "parameters": values}
    made = plan(scene, own)
    assert made.own_trials[0].parameters["r"] == 1000
    known = optuna_space.distributions(made)["lora.per_device_train_batch_size"]
    assert 24 in known.choices  # type: ignore[attr-defined]


def test_a_mistake_has_its_file_and_line(scene: Any) -> None:
    spec, facts = scene()
    own = {"strategy": "lora", "parameters": {"rank": 8}}
    given = Spec.model_validate(spec.model_dump() | {"trials": (own,)})
    places = Places(lambda path: "sweep.yaml:9 " + ".".join(map(str, path)))
    with pytest.raises(SpecError, match=r"^sweep.yaml:9 trials.0.parameters.rank: "):
        make_plan(given.with_places(places), facts)


@pytest.mark.parametrize(
    ("strategy", "parameters", "words"),
    [
        ("lora", {"rank": 8}, "lora has no parameter 'rank'"),
        ("lora", {"lr": 1e-4}, "Did you mean 'learning_rate'?"),
        ("lora", {"learning_rat": 1e-4}, "Did you mean 'learning_rate'?"),
        ("lora", {"target_modules": "all-linaer"}, "Did you mean 'all-linear'?"),
        ("lora", {"learning_rate": "high"}, "a number above 0"),
        ("lora", {"learning_rate": 0}, "a number above 0"),
        ("lora", {"r": 8.5}, "a whole number"),
        ("lora", {"weight_decay": True}, "a number"),
        ("lora", {"r": 0}, "a whole number above 0"),
        ("lora", {"lora_dropout": 1.5}, "at most 0.99"),
        ("lora", {"per_device_train_batch_size": 0}, "at least 1"),
        ("lora", {"optim": "sgd"}, "exists only where 'parameters' declares it"),
        ("head", {}, "cannot write text"),
    ],
)
def test_what_cannot_be_trained_is_named(
    scene: Any, strategy: str, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plan(scene, {"strategy": strategy, "parameters": parameters})
    assert words in str(caught.value)
    assert "trials.0" in str(caught.value)


def test_a_model_that_is_not_in_the_plan_is_named(scene: Any) -> None:
    with pytest.raises(SpecError, match="'org/other'"):
        plan(scene, {"strategy": "lora", "model": "org/other"})


def test_a_strategy_that_does_not_run_on_the_model_is_named_with_it(scene: Any) -> None:
    model = plan(scene).candidates[0].model
    own = {"strategy": "lora", "model": model}
    assert plan(scene, own).own_trials[0].model == model
    with pytest.raises(SpecError, match=f"head on {re.escape(model)} "):
        plan(scene, own | {"strategy": "head"})


def test_all_mistakes_are_reported_at_once(scene: Any) -> None:
    with pytest.raises(SpecError) as caught:
        plan(
            scene,
            {"strategy": "lora", "parameters": {"rank": 8, "lr": 1}},
            {"strategy": "head", "parameters": {}},
        )
    assert len(caught.value.problems) == 3


def test_a_value_is_one_of_the_plans_choices_however_it_is_written(scene: Any) -> None:
    base = plan(scene)
    choices = base.candidate("lora").parameters["num_train_epochs"].choices
    assert choices == (1.5, 3.0)
    own = plan(scene, {"strategy": "lora", "parameters": {"num_train_epochs": 3, "r": 8.0}})
    values = own.own_trials[0].parameters
    assert repr(values) == "{'num_train_epochs': 3.0, 'r': 8}"
    assert optuna_space.distributions(own) == optuna_space.distributions(base)
    with pytest.raises(SpecError, match="use_rslora = 1 "):
        plan(scene, {"strategy": "lora", "parameters": {"use_rslora": 1}})


def test_virtual_tokens_must_fit_into_the_context_with_the_texts(scene: Any) -> None:
    spec, facts = scene(model="minilm", task="classification", labels=2)
    request = spec.model_dump() | {"aim": {"strategies": ("ptuning",)}}
    request["training"] = {"max_length": 480}
    for tokens, fits in ((32, True), (33, False)):
        own = {"strategy": "ptuning", "parameters": {"num_virtual_tokens": tokens}}
        given = Spec.model_validate(request | {"trials": (own,)})
        if fits:
            assert make_plan(given, facts).own_trials
            continue
        with pytest.raises(SpecError) as caught:
            make_plan(given, facts)
        assert "trials.0.parameters.num_virtual_tokens" in str(caught.value)
