from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.hyperparameters import EPOCHS
from sweeper.planning.budget.study_phases import usual_share
from sweeper.planning.budget.trial_budget import RUNGS, epoch_choices, with_epochs
from sweeper.planning.planner import make_plan
from sweeper.plans import Parameter
from sweeper.spec import ModelSpec, Spec, TrialRequest

PARAMETER = Parameter(kind="float", low=2, high=3, default=3, source="test", searched=False)


@pytest.mark.parametrize("epochs", [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 20.0])
def test_every_length_ends_at_a_rung_and_sees_each_row(epochs: float) -> None:
    found = epoch_choices(epochs)
    assert found[-1] == epochs
    assert list(found) == sorted(set(found))
    for length in found:
        assert RUNGS * length / epochs == round(RUNGS * length / epochs)
        assert length >= min(1.0, epochs)


def test_epochs_are_searched_up_to_the_full_budget() -> None:
    parameter = with_epochs(
        {EPOCHS: PARAMETER}, 4.0, Spec(task="code", models=(ModelSpec(id="7B"),))
    )[EPOCHS]
    assert parameter.searched
    assert parameter.choices == parameter.allowed_choices == (1.0, 2.0, 4.0)
    assert parameter.default == 4.0
    assert parameter.low is None is parameter.high
    assert usual_share(parameter) == pytest.approx((0.25 + 0.5 + 1) / 3)


@pytest.mark.parametrize(("epochs", "training"), [(4.0, {"epochs": 4.0}), (1.0, {}), (1.1, {})])
def test_epochs_are_fixed_where_they_were_asked_for_or_no_row_would_be_left_out(
    epochs: float, training: dict[str, float]
) -> None:
    spec = Spec.model_validate({"task": "code", "models": [{"id": "7B"}], "training": training})
    parameter = with_epochs({EPOCHS: PARAMETER}, epochs, spec)[EPOCHS]
    assert not parameter.searched
    assert parameter.default == epochs
    assert usual_share(parameter) == 1.0
    assert usual_share(None) == 1.0


def test_the_expected_share_of_trials_has_no_jump_up_to_two_epochs() -> None:
    spec = Spec.model_validate({"task": "code", "models": [{"id": "7B"}]})
    shares = []
    for epochs in (1.0, 1.13, 1.15, 1.33, 1.34, 1.59, 1.61, 1.99, 2.0):
        parameter = with_epochs({EPOCHS: PARAMETER}, epochs, spec)[EPOCHS]
        shares.append(usual_share(parameter))
        assert parameter.choices is None or min(map(float, parameter.choices)) >= 1
    assert shares[0] == 1
    assert shares[-1] == pytest.approx(0.75)
    steps = [before - after for before, after in pairwise(shares)]
    assert all(0 <= step < 0.1 for step in steps)
    assert all(step < 0.04 for step in steps[1::2])


def test_shorter_trials_are_expected_to_cost_less(scene: Any) -> None:
    searched = make_plan(*scene()).budget
    fixed = make_plan(*scene(training={"epochs": searched.epochs})).budget
    assert searched.epochs == fixed.epochs > 1
    assert searched.phases["search"].seconds < fixed.phases["search"].seconds
    assert searched.phases["confirmation"] == fixed.phases["confirmation"]


def test_an_own_trial_of_more_than_a_full_budget_is_refused_with_what_to_do(scene: Any) -> None:
    spec, facts = scene(training={"epochs": 2.0})
    own = TrialRequest(strategy="lora", parameters={EPOCHS: 6})
    with pytest.raises(SpecError) as error:
        make_plan(spec.model_copy(update={"trials": (own,)}), facts)
    assert "--epochs 6" in str(error.value)
    half = TrialRequest(strategy="lora", parameters={EPOCHS: 1})
    make_plan(spec.model_copy(update={"trials": (half,)}), facts)
