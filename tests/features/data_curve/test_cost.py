"""When a data curve is planned."""

from __future__ import annotations

from typing import Any

import pytest
from scenes import make_scene as scene

from sweeper.planning.planner import make_plan
from sweeper.spec import FeatureOptions, ObjectiveSpec


def curve(enabled: bool) -> dict[str, Any]:
    """A request that asks for a curve, or for none."""
    return {"features": FeatureOptions.model_validate({"data_curve": {"enabled": enabled}})}


def test_the_data_curve_is_a_phase_of_its_own_where_it_is_asked_for() -> None:
    without = make_plan(*scene()).budget
    assert "data_curve" not in without.phases
    budget = make_plan(*scene(request=curve(True))).budget
    phase = budget.phases["data_curve"]
    assert 0 < phase.low < phase.seconds < phase.high
    assert budget.sweep.seconds == pytest.approx(without.sweep.seconds + phase.seconds, rel=1e-3)
    assert not budget.features["data_curve"].optional  # nothing is left to decide


def test_a_data_curve_is_planned_unasked_where_it_is_cheap_or_the_budget_has_room() -> None:
    def planned(**changes: Any) -> tuple[bool, str]:
        budget = make_plan(*scene(**changes)).budget
        told = [note for note in budget.notes if "data curve" in note.lower()]
        assert len(told) == ("data_curve" in budget.features)
        return "data_curve" in budget.phases, "".join(told)

    few, many = {"trials": 20}, {"trials": 80}
    assert planned(search=few)[1].endswith(
        "more than 15% of the time of the search: --data-curve adds it."
    )
    made, told = planned(search=many)
    assert made
    assert "less than 15%" in told
    made, told = planned(search=few, aim={"budget": "1000gpuh"})
    assert made
    assert "of the budget remain for it" in told
    made, told = planned(search=many, aim={"budget": "2gpuh"})  # all of it goes to trials
    assert not made
    assert "is not planned" in told
    assert planned(search=many, request=curve(False)) == (False, "")
    # Items of this objective have no score, so there can be no curve.
    written = {"objective": ObjectiveSpec(name="rouge_l")}
    assert planned(search=many, request=written) == (False, "")
