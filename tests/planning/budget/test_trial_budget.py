"""How often a trial is looked at, and on how many items: never for more than a tenth of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.execution.next_attempt import trial_budget
from sweeper.memory.setup import Setup
from sweeper.planning.budget.candidate_costs import workload_of
from sweeper.planning.budget.trial_budget import (
    EVALUATION_SHARE,
    FORWARD_SHARE,
    MIN_RUNG_ITEMS,
    RUNGS,
    SPACINGS,
    affordable,
)
from sweeper.planning.costs.trial_seconds import clock_of
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan


@given(
    st.floats(0, 1e5), st.integers(1, 5000), st.floats(1, 50), st.floats(0, 100),
    st.sampled_from(SPACINGS),
)  # fmt: skip
def test_looks_cost_what_is_left_or_are_as_few_as_may_be(
    passes: float, rows: int, cost: float, beside: float, widest: int
) -> None:
    scored = affordable(passes, rows, widest, cost=cost, at_rung=beside, at_end=rows * cost)
    enough = min(MIN_RUNG_ITEMS, rows)
    assert enough <= scored.items <= rows
    assert scored.every <= widest
    assert RUNGS % scored.every == 0
    assert scored.below >= 1
    paid = scored.below * (scored.items * cost + beside)
    assert scored.every == widest or paid <= passes + 1e-6
    assert scored.items == enough or paid + rows * cost <= passes + 1e-6


def _plan(scene: Any, rows: int, **changes: Any) -> Plan:
    training = {"epochs": 1.0} | changes.pop("training", {})
    search = {"trials": 9}
    return make_plan(
        *scene("instruction", "smollm2", rows, gpu_gib=None, training=training, search=search,
               **changes)
    )  # fmt: skip


@pytest.mark.parametrize(("rows", "every"), [(7000, 1), (2150, 1), (1000, 2), (430, 4), (80, 4)])
def test_where_a_look_at_every_rung_costs_too_much_there_are_fewer(
    scene: Any, rows: int, every: int
) -> None:
    budget = _plan(scene, rows).budget
    assert (budget.rung_every, budget.rungs) == (every, RUNGS)
    assert budget.first_rung % every == 0
    note = [text for text in budget.notes if "Trials are scored at rungs" in text]
    assert bool(note) == (every > 1)
    scored = (RUNGS // every - 1) * budget.rung_items
    assert FORWARD_SHARE * scored <= EVALUATION_SHARE * rows * budget.epochs or every == 4
    at_every = (RUNGS - 1) * min(MIN_RUNG_ITEMS, budget.rung_items)
    assert every == 1 or FORWARD_SHARE * at_every > EVALUATION_SHARE * rows * budget.epochs


def test_a_trial_reports_as_often_as_its_plan_says(scene: Any) -> None:
    plan = _plan(scene, 60)
    assert trial_budget(plan, {}).rung_every == plan.budget.rung_every == 4


@pytest.mark.parametrize(
    ("changes", "every"),
    [
        ({}, 4),
        ({"training": {"early_stopping_patience": 3}}, 1),
        ({"request": {"features": {"forgetting": {"max_points": 2.0}}}}, 2),
    ],
)
def test_whoever_wants_trials_to_stop_early_gets_the_looks_for_it(
    scene: Any, changes: dict[str, Any], every: int
) -> None:
    assert _plan(scene, 60, **changes).budget.rung_every == every


def test_general_text_that_is_scored_too_is_counted(scene: Any) -> None:
    short = {"lengths": {"mean": 20.0, "p50": 20, "p90": 30, "p99": 40, "longest": 40}}
    limit = {"request": {"features": {"forgetting": {"max_points": 2.0}}}}
    every = [_plan(scene, 1860, **short, **c).budget.rung_every for c in ({}, limit)]
    assert every == [1, 2]


def test_names_of_classes_make_an_item_dear(scene: Any) -> None:
    cheap, dear = (
        make_plan(
            *scene("classification", "smollm2", 4000, labels=20, training={"classes_by": by})
        ).budget
        for by in ("head", "generate")
    )
    assert (dear.rung_every, -dear.rung_items) > (cheap.rung_every, -cheap.rung_items)


def test_the_time_of_a_trial_has_only_the_looks_that_it_has(scene: Any) -> None:
    spec, facts = scene("instruction", "smollm2", 60, gpu_gib=None, training={"epochs": 1.0})
    model = facts.models[0]
    few = workload_of(spec, facts, model, epochs=1.0)
    clock = clock_of(model, Setup(strategy="lora", micro_batch=4, device="cpu"), facts.hardware)
    once = clock.scoring(few, few.validation_rows)
    assert few.rung_every == 4
    assert clock.rungs(few) == pytest.approx(2 * once + 2 * 0.1)
