import json
import math
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import UsageError
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import loss_note

SHAPES = {
    "nothing": {"trials": 0, "baselines": False, "seal": False, "phase": None},
    "one": {"trials": 1},
    "all failed": {"trials": 3, "ends": dict.fromkeys(range(3), "FAIL")},
    "running": {"trials": 5, "asked": 20, "phase": "search", "seal": False, "seeds": 1},
    "not a number": {"trials": 6, "ends": {3: "COMPLETE"}, "losses": {3: float("inf")}},
    "no items kept": {"trials": 12, "keep_items": False},
    "text": {"trials": 6, "task": "instruction", "strategies": ("lora", "full")},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_state_of_a_run_has_findings_that_survive_json(make, shape):
    findings = compute(make(**shape))
    text = findings.to_json()
    assert Findings.from_json(text) == findings
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_same_files_give_the_same_bytes(make):
    run = make(trials=14)
    assert compute(run).to_json() == compute(run).to_json()


def test_a_folder_without_a_plan_is_no_run(make):
    run = make(trials=1)
    run.plan.unlink()
    with pytest.raises(UsageError, match=r"plan\.json"):
        compute(run)


@given(st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_files_that_are_missing_or_cut_are_a_state_not_an_error(make, tmp_path, data):
    run = make(trials=5, validation_items=40, test_items=40)
    files = sorted(path for path in run.path.rglob("*") if path.is_file() and path != run.plan)
    for path in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=6, unique=True)):
        text = path.read_bytes()
        cut = data.draw(st.integers(-1, len(text) - 1))
        path.unlink() if cut < 0 else path.write_bytes(text[:cut])
    findings = compute(run)
    assert findings.verdict.kind in ("recommend", "tie", "insufficient", "none")
    shutil.rmtree(run.path)


def test_a_trial_without_result_is_running_or_waiting(make):
    running = compute(make(trials=5, ends={4: "RUNNING"}, phase="search", held=True, seal=False))
    assert running.trials[4].result.state == "RUNNING"
    assert loss_note(running.trials[4]) == "still training"
    stopped = compute(
        make(name="b", trials=5, ends={4: "WAITING"}, phase="interrupted", seal=False)
    )
    assert stopped.trials[4].result.state == "WAITING"
    assert stopped.run.status == "interrupted"


def test_a_damaged_result_is_a_failed_trial_that_says_so(make):
    run = make(trials=4)
    (run.trial(2) / "result.json").write_text("{")
    row = compute(run).trials[2]
    assert row.result.state == "FAIL"
    assert row.result.failure is not None
    assert "damaged" in row.result.failure.detail


def test_a_half_written_rung_is_left_out(make):
    run = make(trials=4, prune=False)
    path = run.trial(1) / "rungs.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:30])
    assert len(compute(run).trials[1].rungs) == 5


def test_a_loss_that_is_not_finite_is_absent_with_its_reason(make):
    findings = compute(make(trials=6, ends={3: "COMPLETE"}, losses={3: float("nan")}))
    row = findings.trials[3]
    assert row.result.validation_loss is None
    assert loss_note(row) == "the loss was not a finite number"
    assert row.rungs == ()


def test_baselines_are_listed_cheapest_first(make):
    seconds = [baseline.seconds for baseline in compute(make()).baselines]
    assert seconds == sorted(seconds)


def test_total_is_what_the_last_call_asked_for(make):
    assert compute(make(trials=5, asked=20, phase="search")).run.trials_requested == 20


def test_a_seed_that_was_trained_again_is_counted_once(make):
    run = make(trials=6, seeds=3)
    findings = compute(run)
    best = findings.finalists[0]
    assert [score.seed for score in best.seeds] == [0, 1, 2]
    assert best.validation_loss.n == 3
    assert math.isfinite(best.validation_loss.high or 0)


def test_unknown_fields_of_status_do_no_harm(make):
    run = make(trials=3)
    run.status.write_text(json.dumps({"phase": "future", "trials": "many", "x": 1}))
    assert compute(run).run.trials_requested == 3
    run.status.write_text("[]")
    assert compute(run).run.status == "complete"
