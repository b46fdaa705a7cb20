"""The end of a run's budget, on a clock that moves by one second with each message of a worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from curve_backend import make_plan
from fake_pool import Sweep, is_silent, make_sweep

from sweeper.execution.state.status import Status
from sweeper.plans import Duration, Plan
from sweeper.trials import TestSeal


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    made, clock = make_sweep(tmp_path, monkeypatch), [0.0]

    def pass_a_second() -> None:
        clock[0] += 1.0

    made.pool.on_poll = pass_a_second
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return made


def bought(trials: int, seconds: float | None) -> Plan:
    plan = make_plan(trials)
    phases = {**plan.budget.phases, "test": Duration(seconds=4.0, low=2.0, high=8.0)}
    update = {"limit_seconds": seconds, "phases": phases}
    return plan.model_copy(update={"budget": plan.budget.model_copy(update=update)})


def test_a_search_ends_while_the_budget_has_room_for_confirmation_and_test(sweep: Sweep) -> None:
    assert sweep.go(20, bought(20, 150.0)).kind == "complete"
    status = Status.read(sweep.run.status)
    assert status.ending is not None
    assert status.ending.kind == "budget"
    assert 2 <= status.done < 20
    assert status.seconds <= 150.0
    assert TestSeal.read(sweep.run.test_seal).complete


def test_a_run_stops_before_it_exceeds_its_budget_and_counts_earlier_calls(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1/1": is_silent(1), "trial-1/2": is_silent(1)}
    assert sweep.go(20, bought(20, 100.0)).kind == "timeout"
    first = Status.read(sweep.run.status).seconds
    assert 80.0 < first <= 100.0
    assert sweep.said("warning") == ["the budget is spent; give a larger one to continue"]
    assert sweep.go(20).kind == "timeout"
    assert Status.read(sweep.run.status).seconds <= 100.0 + 3.0


def test_without_a_budget_every_trial_is_trained(sweep: Sweep) -> None:
    assert sweep.go(6, bought(6, None)).kind == "complete"
    assert Status.read(sweep.run.status).done == 6
