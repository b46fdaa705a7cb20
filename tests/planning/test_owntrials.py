from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.planning.planner import make_plan
from sweeper.spec import Spec


def plan(scene: Any, *trials: dict[str, Any]) -> Any:
    spec, facts = scene()
    return make_plan(Spec.model_validate(spec.model_dump() | {"trials": trials}), facts)


def test_own_values_outside_of_the_allowed_range_are_the_users_right(scene: Any) -> None:
    own = {"strategy": "lora", "parameters": {"learning_rate": 0.5, "r": 1000}}
    assert plan(scene, own).own_trials[0].parameters["r"] == 1000


@pytest.mark.parametrize(
    ("strategy", "parameters", "words"),
    [
        ("lora", {"rank": 8}, "lora has no parameter 'rank'"),
        ("lora", {"learning_rat": 1e-4}, "Did you mean 'learning_rate'?"),
        ("lora", {"target_modules": "all-linaer"}, "Did you mean 'all-linear'?"),
        ("lora", {"learning_rate": "high"}, "a number above 0"),
        ("lora", {"learning_rate": 0}, "a number above 0"),
        ("lora", {"r": 8.5}, "a whole number"),
        ("lora", {"weight_decay": True}, "a number"),
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


def test_all_mistakes_are_reported_at_once(scene: Any) -> None:
    with pytest.raises(SpecError) as caught:
        plan(
            scene,
            {"strategy": "lora", "parameters": {"rank": 8, "lr": 1}},
            {"strategy": "head", "parameters": {}},
        )
    assert len(caught.value.problems) == 3
