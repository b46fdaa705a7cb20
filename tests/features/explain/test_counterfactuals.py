"""What a counterfactual says is true when it is tried, at its value and not before."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import NothingFits
from sweeper.facts.record import Facts
from sweeper.features.explain._counterfactuals import (
    _VARIED_FACTS,
    Counterfactual,
    _changes,
    _Ranking,
)
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.book import rule_book
from sweeper.spec import Spec

BOOK = rule_book()


def granted(spec: Spec, facts: Facts, item: Counterfactual) -> bool:
    try:
        candidates, _ = ranked_candidates(BOOK, spec, facts)
    except NothingFits:
        return False
    if item.outcome == "ranks first":
        return candidates[0].strategy == item.strategy
    return item.strategy in {one.strategy for one in candidates}


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    task=st.sampled_from(["classification", "instruction", "code", "domain"]),
    model=st.sampled_from(["minilm", "smollm2", "7B", "13B", "70B"]),
    rows=st.floats(1, 6).map(lambda power: round(10**power)),
    gib=st.floats(0.3, 2.3).map(lambda power: round(10**power, 1)),
    gpus=st.sampled_from([0, 1, 1, 1, 2, 8]),
    knob=st.sampled_from(_VARIED_FACTS),
    between=st.floats(0.02, 0.98),
)
def test_every_counterfactual_is_true_at_its_value_and_not_before(
    scene: Any, task: str, model: str, rows: int, gib: float, gpus: int, knob: Any, between: float
) -> None:
    machine = {"gpu_gib": gib, "gpus": gpus} if gpus else {"gpu_gib": None}
    known: dict[str, Any] = {"task": task, "model": model, "rows": rows} | machine
    known["aim"] = {"strategies": ("lora", "full", "qlora")}  # plans of all take seconds
    if not gpus:
        known["hardware"] = {"memory_gib": gib}

    def turned(value: float) -> tuple[Spec, Facts]:
        """The scene made anew where it can be, not by what is tested."""
        if knob.name == "examples":
            return scene(**known | {"rows": round(value)})
        if knob.name == "memory_gib":
            named = {"gpu_gib": value} if gpus else {"hardware": {"memory_gib": value}}
            return scene(**known | named)
        return spec, knob.with_value(spec, facts, value)

    spec, facts = scene(**known)
    for item in _changes(spec, facts, BOOK, knob, _Ranking(spec, facts, BOOK).wishes()):
        place, step = knob.step_of(item.needed), 1 if item.needed > item.actual else -1
        assert knob.value(place) == item.needed
        assert not granted(spec, facts, item), item
        assert granted(*turned(item.needed), item), item
        assert not granted(*turned(knob.value(place - step)), item), item
        middle = knob.step_of(item.actual + between * (item.needed - item.actual))
        if middle != place:
            assert not granted(*turned(knob.value(middle)), item), item


def test_a_size_is_found_to_a_hundredth() -> None:
    knob = next(one for one in _VARIED_FACTS if one.name == "parameters_billion")
    for billion in (0.00999, 0.134515008, 6.74, 9.995, 70.0):
        assert billion * 0.998 <= knob.value(knob.step_of(billion)) <= billion * 1.013
    assert all(knob.step_of(knob.value(step)) == step for step in range(-600, 500))
