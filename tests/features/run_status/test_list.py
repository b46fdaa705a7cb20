"""``sweeper list``: every run here, whatever state it is in."""

import json
import re

import pytest

from sweeper import units
from sweeper.execution.state.status import Status
from sweeper.findings.findings import Findings

pytestmark = pytest.mark.usefixtures("without_charts")


def test_a_folder_that_is_named_and_missing_is_a_mistake(sweeper, tmp_path):
    ran = sweeper("list", "--runs", str(tmp_path / "nope"))
    assert ran.code == 2
    assert "nope" in re.sub(r"[\s│]", "", ran.err)


def test_each_run_has_a_line_and_a_damaged_one_hides_no_other(sweeper, make_run):
    done, planned = make_run(name="done", trials=6), make_run(name="planned", trials=3)
    broken, killed = make_run(name="broken", trials=3), make_run(name="killed", trials=3)
    for run in (done, broken, killed):
        assert sweeper("report", run.path.name).code == 0
    planned.status.unlink()
    broken.findings.write_text("{")
    ran = sweeper("list", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert list(rows) == ["broken", "done", "killed", "planned"]
    assert rows["done"]["status"] == "complete"
    assert rows["done"]["trials"] == "6/6"
    assert rows["done"]["verdict"]
    score = r"\d+\.\d% \(95% CI \d+\.\d to \d+\.\d\)"
    assert re.fullmatch(score, rows["done"]["score"])
    assert re.match(r"\d+ s, \d\.\d+ GiB", rows["done"]["cost"])
    assert rows["planned"] == {
        "name": "planned", "status": "planned", "trials": "0", "answer": "", "verdict": "",
        "score": "", "cost": "",
    }  # fmt: skip
    assert rows["broken"]["status"] == "unreadable"
    assert rows["broken"]["verdict"] == "sweeper report runs/broken"
    shown = sweeper("list").out
    assert [line.split()[0] for line in shown.splitlines()] == ["name", *rows]
    assert max(map(len, shown.splitlines())) <= 100
    assert sweeper("report", "broken").code == 0
    assert "unreadable" not in sweeper("list").out


def test_what_failed_of_a_run_that_ended_is_told(sweeper, make_run):
    make_run(name="some", trials=3, ends={2: "FAIL"})
    ends = {0: "FAIL", 1: "FAIL"}
    run = make_run(name="none", trials=2, ends=ends, seal=False, phase="failed")
    warning = "baselines failed: the objective mine:f1: KeyError: 'a' (mine.py:3 in f1)"
    Status.read(run.status).model_copy(update={"message": warning}).write(run.status)
    for name in ("some", "none"):
        assert sweeper("report", name).code == 0
    rows = {row["name"]: row["status"] for row in json.loads(sweeper("list", "--json").out)}
    assert rows == {"some": "complete, 1 failed", "none": "failed"}
    assert f"warning: {warning}" in sweeper("show", "none").out


def test_the_score_and_the_cost_of_a_recommended_baseline_are_its_own(sweeper, make_run):
    run = make_run(name="done", trials=6)
    assert sweeper("report", "done").code == 0
    found = Findings.read(run.findings)
    model = found.tested[-1]
    chosen = {"recommended_baseline": model.name}
    verdict = found.verdict.model_copy(update=chosen)
    found.model_copy(update={"verdict": verdict}).write(run.findings)
    row = json.loads(sweeper("list", "--json").out)[0]
    assert row["score"].startswith(f"{100 * model.score.value:.1f}%")
    assert row["cost"] == units.duration(found.baseline(model.name).seconds)


@pytest.mark.parametrize("phase", ["interrupted", "timeout", "failed", "confirmation"])
def test_a_run_that_did_not_complete_is_told_alike_everywhere(sweeper, make_run, phase):
    run = make_run(name="mine", trials=5, phase=phase, seal=False)
    told = Status.read(run.status).model_copy(update={"failed_because": "the disk is full"})
    (told if phase == "failed" else Status.read(run.status)).write(run.status)
    reported = sweeper("report", "mine").out.splitlines()
    shown = sweeper("show", "mine").out.splitlines()
    state = "interrupted" if phase == "confirmation" else phase
    assert json.loads(sweeper("list", "--json").out)[0]["status"] == state
    assert shown[0].split()[0] == state
    start = next(n for n, line in enumerate(reported) if line.startswith("Next: "))
    step = reported[start : start + 2]
    assert step[0].startswith("Next: resume this sweep. 5 of 5 trials have ended, and the finalis")
    assert step[1] == "  sweeper run runs/mine/sweep.yaml"
    assert step == [line for line in shown if line in step]
    reason = {
        "timeout": "reached its time limit or the end of its budget",
        "failed": "failed (the disk is full)",
    }
    page = run.report_html.read_text()
    assert f"This sweep {reason.get(phase, 'was interrupted')}: 5 of 5 trials" in page
    assert ("error: the disk is full" in shown) == (phase == "failed")
    moved = run.path.rename(run.path.parent.parent / "elsewhere")
    assert f"  sweeper run {moved}/sweep.yaml" in sweeper("show", str(moved)).out.splitlines()


def test_another_total_of_a_resumed_call_is_told_alike_everywhere(sweeper, make_run):
    shape = {"ends": {4: "RUNNING"}, "phase": "search", "seal": False, "asked": 8}
    run = make_run(name="mine", trials=5, **shape)
    assert sweeper("report", "mine").code == 0
    assert "4 of 8 trials" in run.report_html.read_text()
    told = Status.read(run.status)
    told.model_copy(update={"trials": 5}).write(run.status)  # resumed with --trials 5, and killed
    row = json.loads(sweeper("list", "--json").out)[0]
    assert row["trials"] == "4/5"
    shown = sweeper("show", "mine").out
    assert "4/5" in shown
    assert "4 of 5 trials have ended" in shown
    assert "of 8" not in shown + row["verdict"]
    assert sweeper("report", "mine").code == 0
    assert "4 of 5 trials" in run.report_html.read_text()


def test_a_run_that_nobody_runs_any_more_is_interrupted(sweeper, make_run):
    run = make_run(name="killed", trials=5, ends={4: "RUNNING"}, phase="search", seal=False)
    Status.read(run.status).model_copy(update={"complete": 4}).write(run.status)
    row = json.loads(sweeper("list", "--json").out)[0]  # killed before its first report
    assert (row["status"], row["trials"]) == ("interrupted", "4/5")
    assert sweeper("report", "killed").code == 0
    assert json.loads(sweeper("list", "--json").out)[0]["status"] == "interrupted"
    with run.lock():
        assert json.loads(sweeper("list", "--json").out)[0]["status"] == "running"
