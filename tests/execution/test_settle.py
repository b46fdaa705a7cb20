from __future__ import annotations

import math
from pathlib import Path

import pytest
from curve_backend import CurveBackend, make_plan
from optuna.trial import TrialState

from sweeper.execution import records
from sweeper.execution.claims import Claim, Queue, lease_of
from sweeper.execution.settle import recover, tell
from sweeper.runfolder import RunFolder
from sweeper.search.configure import configure
from sweeper.search.storage import open_storage
from sweeper.search.study import FAILURE, FORGETTING, create_study
from sweeper.trials import Failure, RungReport, TrialConfig, TrialResult


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def queue(run: RunFolder) -> Queue:
    storage = open_storage(f"journal:{run.path}/study.log")
    queue = Queue(storage, create_study(storage, "s"))
    queue.add({}, {})
    return queue


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("h/1/0")
    assert claim is not None
    return claim


def a_config(attempt: int = 1) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    return configure(
        plan, candidate, candidate.defaults(), number=0, attempt=attempt, origin="search"
    )


def a_result(state: str = "COMPLETE", **fields: object) -> TrialResult:
    loss = 0.5 if state == "COMPLETE" else None
    base = {"number": 0, "attempt": 1, "seed": 0, "state": state, "validation_loss": loss}
    return TrialResult.model_validate({**base, **fields})


def attempt_with(run: RunFolder, result: TrialResult) -> Path:
    attempt = records.begin_attempt(run.trial(0), a_config())
    (attempt / "weights").mkdir()
    (attempt / "weights" / "w").write_text("new")
    (attempt / "item_losses.json").write_text("{}")
    result.write(attempt / "result.json")
    return attempt


def test_a_result_that_was_written_but_not_told_is_told_and_not_trained_again(
    run: RunFolder, queue: Queue
) -> None:
    claimed(queue)
    attempt_with(run, a_result())
    assert recover(queue, run, queue.trial(0), crashed=True, why="x")
    assert queue.trial(0).state == TrialState.COMPLETE
    assert queue.trial(0).value == 0.5
    assert (run.trial(0) / "weights" / "w").read_text() == "new"
    assert TrialResult.read(run.trial(0) / "result.json") == a_result()


def test_a_promotion_that_was_cut_off_is_finished_by_the_next_one(run: RunFolder) -> None:
    attempt = attempt_with(run, a_result())
    (run.trial(0) / "weights").mkdir(parents=True)  # an older attempt's, not yet replaced
    for _ in range(2):
        records.promote(run.trial(0), attempt)
        assert (run.trial(0) / "weights" / "w").read_text() == "new"
        assert (run.trial(0) / "item_losses.json").exists()
    assert not (attempt / "weights").exists()


def test_a_trial_whose_worker_is_gone_waits_again_and_fails_with_its_third_crash(
    run: RunFolder, queue: Queue
) -> None:
    for crash in (1, 2):
        claimed(queue)
        assert not recover(queue, run, queue.trial(0), crashed=True, why="gone")
        assert queue.trial(0).state == TrialState.WAITING
        assert lease_of(queue.trial(0)).crashes == crash
    claimed(queue)
    assert recover(queue, run, queue.trial(0), crashed=True, why="worker 0 was killed")
    result = TrialResult.read(run.trial(0) / "result.json")
    assert result.failure == Failure(kind="crash", detail="worker 0 was killed")
    assert queue.trial(0).state == TrialState.FAIL


def test_what_an_attempt_that_broke_off_had_kept_of_its_weights_is_deleted(
    run: RunFolder, queue: Queue
) -> None:
    claimed(queue)
    attempt = attempt_with(run, a_result())
    (attempt / "result.json").unlink()
    (attempt / "ranks" / "rank-0" / "weights").mkdir(parents=True)
    assert not recover(queue, run, queue.trial(0), crashed=True, why="gone")
    assert not list(attempt.rglob("weights"))
    assert (attempt / "config.json").exists()


def test_being_stopped_is_no_crash_however_often(run: RunFolder, queue: Queue) -> None:
    for _ in range(5):
        claimed(queue)
        assert not recover(queue, run, queue.trial(0), crashed=False, why="stopped")
    assert lease_of(queue.trial(0)).crashes == 0


@pytest.mark.parametrize(
    ("result", "last", "state", "value"),
    [
        (a_result(), 0.6, TrialState.COMPLETE, 0.5),
        (a_result("PRUNED"), 0.6, TrialState.PRUNED, 0.6),
        (a_result("PRUNED"), float("nan"), TrialState.PRUNED, None),
        (
            a_result("FAIL", failure=Failure(kind="diverged", detail="nan")),
            0.6,
            TrialState.FAIL,
            None,
        ),
    ],
)
def test_the_study_is_told_state_value_and_kind_of_failure(
    queue: Queue, result: TrialResult, last: float, state: TrialState, value: float | None
) -> None:
    assert tell(claimed(queue), result, last)
    told = queue.trial(0)
    assert (told.state, told.value if told.values else None) == (state, value)
    assert told.user_attrs.get(FAILURE) == (result.failure.kind if result.failure else None)


def test_a_half_written_last_line_of_the_curve_is_left_out(run: RunFolder) -> None:
    config = a_config()
    attempt = records.begin_attempt(run.trial(0), config)
    report = CurveBackend(run)._rung(config, 1, 0.5)
    records.add_rung(run.trial(0), attempt, report)
    with (attempt / "rungs.jsonl").open("a") as file:
        file.write(report.model_dump_json()[:40])
    assert records.read_rungs(attempt) == [report]
    assert records.read_rungs(run.trial(0)) == [report]


def test_a_new_attempt_starts_its_curve_anew_and_keeps_the_old_attempt(run: RunFolder) -> None:
    first = records.begin_attempt(run.trial(0), a_config(1))
    report: RungReport = CurveBackend(run)._rung(a_config(1), 1, 0.5)
    records.add_rung(run.trial(0), first, report)
    records.begin_attempt(run.trial(0), a_config(2))
    assert records.read_rungs(run.trial(0)) == []
    assert records.read_rungs(first) == [report]


def test_dropped_weights_are_gone_and_the_result_says_so(run: RunFolder) -> None:
    attempt = attempt_with(run, a_result(weights="weights"))
    records.promote(run.trial(0), attempt)
    records.drop_weights(run.trial(0))
    assert not (run.trial(0) / "weights").exists()
    assert TrialResult.read(run.trial(0) / "result.json").weights is None


@pytest.mark.parametrize(("points", "constraint"), [(3.0, 0.01), (1.0, -0.01), (None, None)])
def test_the_study_learns_what_was_forgotten_and_how_it_stands_to_the_limit(
    queue: Queue, points: float | None, constraint: float | None
) -> None:
    known = {} if points is None else {"general_loss": 2 + points / 100, "general_loss_base": 2.0}
    config = a_config()
    # The trial's own limit only says when it stops: the user's is what it is held to.
    own = {**config.parameters, "general_loss_limit": math.inf}
    limited = config.model_copy(update={"parameters": own, "forgetting_limit": 0.02})
    assert tell(claimed(queue), a_result(**known), None, limited)
    told = queue.trial(0)
    assert told.user_attrs.get(FORGETTING) == (None if points is None else pytest.approx(points))
    assert list(told.constraints.values()) == (
        [] if constraint is None else [pytest.approx(constraint)]
    )


def test_the_losses_on_general_text_become_the_trials(run: RunFolder) -> None:
    attempt = attempt_with(run, a_result())
    (attempt / records.GENERAL_LOSSES).write_text("{}")
    records.promote(run.trial(0), attempt)
    assert (run.trial(0) / records.GENERAL_LOSSES).read_text() == "{}"
