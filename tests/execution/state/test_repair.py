"""Files whose last write was cut off: noticed, said, repaired or done again."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Commands, Sweeper, check_whole
from curve_backend import make_plan
from fake_pool import make_sweep
from optuna.trial import TrialState

from sweeper.errors import RunError
from sweeper.execution.state import work_items
from sweeper.execution.state.attempts import RESULT, attempt_folder, attempts_of
from sweeper.execution.state.continuation import plan_to_run
from sweeper.execution.state.repair import cut_incomplete_line
from sweeper.execution.state.seal import store_choice
from sweeper.execution.state.status import Event, Status
from sweeper.plans import Plan
from sweeper.runfolder import RUNGS, RunFolder, read_stored
from sweeper.trials import BaselineResult, RungReport, TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")


def cut(path: Path) -> None:
    """What a power cut leaves of a file: its first half, or as many zeros."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if len(whole) % 2 else b"\0" * len(whole))


def ended(sweeper: Sweeper, state: TrialState = TrialState.COMPLETE) -> list[int]:
    return [trial.number for trial in sweeper.trials() if trial.state == state]


def test_every_file_of_a_run_may_be_cut_off_and_the_run_goes_on(sweeper: Sweeper) -> None:
    popen = sweeper.start(6, CURVE_WAITS="3:2:1")
    sweeper.wait_for(lambda: sweeper.folder.exists() and sweeper.lines("trained.log")[3:])
    popen.kill()
    popen.communicate()
    sweeper.wait_for(lambda: not sweeper.workers())
    run = sweeper.run
    trials, done = sweeper.trials(), ended(sweeper)
    losses = {number: trials[number].value for number in done}
    first, second = done[:2]
    cut(run.trial(first) / RESULT)  # its attempt has a copy
    for folder in (run.trial(second), attempt_folder(run.trial(second), 1)):
        cut(folder / RESULT)  # it is trained again
    running = 3
    attempt = attempt_folder(run.trial(running), attempts_of(run.trial(running))[-1])
    (attempt / RESULT).write_text('{"number": ')
    with (run.trial(first) / "rungs.jsonl").open("ab") as file:
        file.write(b"\0\0\0\n{}\n" + b'{"number": 1, "atte')
    cut(run.status)

    sweeper.finish(6)
    check_whole(sweeper, 6)
    now = sweeper.trials()
    assert {number: now[number].value for number in done} == losses
    assert now[running].value != 0
    said = "\n".join(sweeper.events("warning"))
    assert f"trial {first}: result.json was damaged and has been restored from its attempt" in said
    assert attempts_of(run.trial(second)) == [1, 2]
    assert len(RungReport.read_lines(run.trial(first) / RUNGS)) == 8
    assert TrialResult.read(run.trial(first) / RESULT).metrics is not None
    assert Status.read(run.status).done == 6
    row = sweeper.table()[running]
    assert "damaged (result.json is damaged" in row["ended_attempts"]
    trained = [line.split()[0] for line in sweeper.lines("trained.log")]
    counts = {number: trained.count(str(number)) for number in done}
    assert counts == dict.fromkeys(done, 1) | {second: 2}


FAST = {"CURVE_STEP_SECONDS": "0", "CURVE_QUICK": "1"}


def test_damaged_baselines_are_made_again_and_nothing_else_is(commands: Commands) -> None:
    run = commands.run
    commands.finish(3, 1, **FAST)
    names = ("majority", "tfidf")
    whole = {name: BaselineResult.read(run.baselines / f"{name}.json") for name in names}
    logs = {log: commands.lines(log) for log in ("trained.log", "tested.log")}
    cut(run.baselines / "majority.json")
    (run.baselines / "tfidf.json").write_bytes(b"\xff\xfe{}")
    commands.finish(3, 1, **FAST)
    assert {n: BaselineResult.read(run.baselines / f"{n}.json") for n in names} == whole
    # Of another schema, while the other one is whole and is not written again.
    (run.baselines / "tfidf.json").write_text('{"schema_version": 1, "title": "x"}')
    kept = (run.baselines / "majority.json").stat().st_ino
    commands.finish(3, 1, **FAST)
    assert {n: BaselineResult.read(run.baselines / f"{n}.json") for n in names} == whole
    assert (run.baselines / "majority.json").stat().st_ino == kept
    events = [Event.model_validate_json(line) for line in commands.lines("events.jsonl")]
    said = [event.text for event in events if event.kind == "warning"]
    assert said == [
        f"baselines/{name}.json was damaged, and is made again" for name in (*names, "tfidf")
    ]
    assert [event.job for event in events if event.kind == "baseline"][2:] == [*names, "tfidf"]
    assert {log: commands.lines(log) for log in logs} == logs
    check_whole(commands, 3)


def test_scores_and_confirmation_runs_that_are_damaged_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path, monkeypatch)
    plan = make_plan(2)
    sweep.go(2, plan)
    run, scored = sweep.run, work_items.score_trial(0)
    assert work_items.is_done(run, scored)
    cut(work_items.score_file(run, scored))
    assert not work_items.is_done(run, scored)
    work_items.end_open_attempt(run, scored)  # its attempt has a copy
    assert work_items.is_done(run, scored)
    cut(work_items.score_file(run, scored))
    cut(run.path / scored.home / "attempts" / "1" / "score.json")
    work_items.end_open_attempt(run, scored)
    assert not work_items.is_done(run, scored)

    confirmed = work_items.confirm(0, 1)
    result = TrialResult(number=0, attempt=1, seed=1, state="COMPLETE", validation_loss=0.5)
    for folder in (run.seed(0, 1), run.seed(0, 1) / "attempts" / "1"):
        result.write(folder / RESULT)
    cut(run.seed(0, 1) / RESULT)
    assert not work_items.is_done(run, confirmed)
    work_items.end_open_attempt(run, confirmed)
    assert work_items.is_done(run, confirmed)


def test_a_line_that_was_cut_off_spoils_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    cut_incomplete_line(path)
    assert not path.exists()
    for before, after in (("", ""), ('{"a": 1}\n', '{"a": 1}\n'), ('{"a": 1}\n{"b', '{"a": 1}\n')):
        path.write_text(before)
        cut_incomplete_line(path)
        assert path.read_text() == after


def test_a_damaged_plan_is_an_error_with_its_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    make_plan().write(run.plan)
    assert read_stored(Plan, run.plan) == make_plan()
    cut(run.plan)
    with pytest.raises(RunError) as raised:
        plan_to_run(run, make_plan())
    assert raised.value.problems[0].where == str(run.plan)


def test_a_damaged_seal_is_not_opened_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.test_seal.write_bytes(b"{")
    with pytest.raises(RunError) as raised:
        store_choice(run, make_plan(), [])
    assert raised.value.problems[0].where == str(run.test_seal)
    assert run.test_seal.read_bytes() == b"{"
