from __future__ import annotations

from pathlib import Path

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.execution.state.run_state import RunState
from sweeper.objective import Limit
from sweeper.runfolder import RunFolder
from sweeper.trials import Failure, Measure, TrialResult

KEYS = ("lora", "lora", "full", "lora", "head")


@pytest.fixture
def state(tmp_path: Path) -> RunState:
    plan = make_plan()
    made = RunState(RunFolder(tmp_path), plan)
    for number, key in enumerate(KEYS):
        candidate = plan.candidate(key)
        origin = "default" if number in (0, 2, 4) else "search"
        made.configs[number] = config_of(
            plan, candidate, candidate.defaults(), number=number, attempt=1, origin=origin
        )
    return made


def result(number: int, loss: float | None = None, **fields: object) -> TrialResult:
    state = "FAIL" if "failure" in fields else "COMPLETE" if loss is not None else "PRUNED"
    known = {"number": number, "attempt": 1, "seed": 0, "state": state, "validation_loss": loss}
    return TrialResult.model_validate({**known, **fields})


def test_what_all_results_come_to_is_counted(state: RunState) -> None:
    starved = Failure(kind="out-of-memory", detail="x")
    state.results[0] = result(0, 0.5)
    state.results[1] = result(1)
    state.results[2] = result(2, failure=starved)
    state.results[3] = result(3, 0.4)
    assert state.state_counts == {"COMPLETE": 2, "PRUNED": 1, "FAIL": 1}
    assert state.out_of_memory == 1
    best, default = state.best, state.best_default
    assert best is not None
    assert default is not None
    assert (best.trial, default.trial) == (3, 0)
    assert state.defaults() == [0]


def test_the_best_keeps_to_the_limit_where_any_does(state: RunState) -> None:
    state.limits = (Limit("size", 0.1, "size", 2, ""),)
    large, small = (Measure(title="size", unit="m", value=v, base=2.0) for v in (2.5, 2.05))
    state.results[0] = result(0, 0.3, measures={"size": large})
    best = state.best
    assert best is not None
    assert (best.trial, best.over_limits) == (0, ("size",))
    state.results[1] = result(1, 0.9, measures={"size": small})
    best = state.best
    assert best is not None
    assert (best.trial, best.over_limits) == (1, ())


def test_weights_are_kept_for_defaults_bests_and_finalists(state: RunState) -> None:
    budget = state.plan.budget.model_copy(update={"finalists": 1})
    state.plan = state.plan.model_copy(update={"budget": budget})
    losses = {0: 0.9, 1: 0.5, 2: 0.8, 3: 0.7, 4: 0.95}
    for number, loss in losses.items():
        (state.run.trial(number) / "weights").mkdir(parents=True)
        kept = result(number, loss, weights="weights")
        kept.write(state.run.trial(number) / "result.json")
        state.results[number] = kept
    assert state.drop_other_weights() == [3]
    assert not (state.run.trial(3) / "weights").exists()
    assert state.results[3].weights is None
    assert TrialResult.read(state.run.trial(3) / "result.json").weights is None
    assert state.drop_other_weights() == []
