"""What a counterfactual says is true when it is tried, at its value and not before."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper import units
from sweeper.errors import NothingFits
from sweeper.facts.record import Facts
from sweeper.planning.counterfactuals import _KNOBS, Counterfactual, counterfactuals
from sweeper.planning.planner import make_plan
from sweeper.spec import Spec


def granted(spec: Spec, facts: Facts, item: Counterfactual) -> bool:
    try:
        plan = make_plan(spec, facts)
    except NothingFits:
        return False
    if item.outcome == "ranks first":
        return plan.recommended == item.strategy
    return item.strategy in {one.strategy for one in plan.candidates}


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    task=st.sampled_from(["classification", "instruction", "code"]),
    model=st.sampled_from(["smollm2", "7B", "70B"]),
    rows=st.integers(20, 300_000),
    gib=st.integers(40, 1920).map(lambda tenths: tenths / 10),
    between=st.floats(0.05, 0.95),
)
def test_every_counterfactual_is_true_at_its_value_and_not_before(
    scene: Any, task: str, model: str, rows: int, gib: float, between: float
) -> None:
    known: dict[str, Any] = {"task": task, "model": model, "rows": rows, "gpu_gib": gib}
    spec, facts = scene(**known)
    for item in counterfactuals(spec, facts):
        knob = next(one for one in _KNOBS if one.fact == item.fact)
        place = knob.place(item.needed)
        assert knob.value(place) == item.needed
        before = knob.value(place - 1 if item.needed > item.actual else place + 1)
        middle = item.actual + between * (item.needed - item.actual)
        if item.fact == "examples":
            assert granted(*scene(**known | {"rows": int(item.needed)}), item), item
            assert not granted(*scene(**known | {"rows": int(before)}), item), item
            assert not granted(*scene(**known | {"rows": round(middle)}), item), item
        elif item.fact == "memory_gib":
            assert granted(*scene(**known | {"gpu_gib": item.needed}), item), item
            assert not granted(*scene(**known | {"gpu_gib": before}), item), item
            assert not granted(*scene(**known | {"gpu_gib": middle}), item), item
        else:
            assert granted(spec, knob.turn(spec, facts, item.needed), item), item
            assert not granted(spec, knob.turn(spec, facts, before), item), item


def test_the_values_of_a_size_are_those_that_a_sentence_can_name() -> None:
    knob = next(one for one in _KNOBS if one.fact == "parameters_billion")
    for parameters in (9.99e6, 1e7, 134_515_008.0, 6.74e9, 9.995e9, 70e9):
        value = knob.value(knob.place(parameters))
        assert value >= parameters * 0.999
        assert units.count(round(value)) == units.count(round(value * 1.0001))
