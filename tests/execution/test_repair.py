"""Files whose last write was cut off: noticed, said, repaired or done again."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Sweeper, check_whole
from curve_backend import make_plan
from optuna.trial import TrialState

from sweeper.errors import RunError
from sweeper.execution.claims import lease_of
from sweeper.execution.identity import frozen_plan
from sweeper.execution.records import RESULT, read_rungs
from sweeper.execution.repair import copy_of, read_either, write_twice
from sweeper.execution.status import Status
from sweeper.planning.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult

SLOW = {"CURVE_STEP_SECONDS": "0.01"}


def cut(path: Path) -> None:
    """What a power cut leaves of a file: its first half, or as many zeros."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if len(whole) % 2 else b"\0" * len(whole))


def ended(sweeper: Sweeper, state: TrialState = TrialState.COMPLETE) -> list[int]:
    return [trial.number for trial in sweeper.trials() if trial.state == state]


def test_every_file_of_a_run_may_be_cut_off_and_the_run_goes_on(sweeper: Sweeper) -> None:
    popen = sweeper.start(6, 1, **SLOW)
    sweeper.wait_for(lambda: sweeper.folder.exists() and sweeper.lines("trained.log")[3:], 120.0)
    popen.kill()
    popen.communicate()
    sweeper.wait_for(lambda: not sweeper.workers(), 5.0)
    run = sweeper.run
    trials, done = sweeper.trials(), ended(sweeper)
    losses = {number: trials[number].value for number in done}
    first, second = done[:2]
    cut(run.trial(first) / RESULT)  # its attempt has a copy
    for folder in (run.trial(second), run.attempt(second, 1)):
        cut(folder / RESULT)  # only the study knows
    (running,) = [t for t in trials if t.state == TrialState.RUNNING]
    attempt = run.attempt(running.number, lease_of(running).attempt)
    attempt.mkdir(parents=True, exist_ok=True)
    (attempt / RESULT).write_text('{"number": ')
    with (run.trial(first) / "rungs.jsonl").open("ab") as file:
        file.write(b"\0\0\0\n{}\n" + b'{"number": 1, "atte')
    for path in (run.status, run.plan):
        cut(path)

    sweeper.finish(6, 1, **SLOW)
    check_whole(sweeper, 6)
    now = sweeper.trials()
    assert {number: now[number].value for number in done} == losses
    assert now[running.number].value != 0
    said = "\n".join(sweeper.events("warning"))
    assert f"trial {first}: result.json was damaged and has been restored from its attempt" in said
    assert f"trial {second}: result.json was damaged and has been restored from the study" in said
    assert len(read_rungs(run.trial(first))) == 8
    assert TrialResult.read(run.trial(first) / RESULT).metrics is not None
    assert Status.read(run.status).done == 6
    assert Plan.read(run.plan) == Plan.read(copy_of(run.plan))
    row = sweeper.table()[running.number]
    assert "damaged (result.json is damaged" in row["ended_attempts"]
    trained = [line.split()[0] for line in sweeper.lines("trained.log")]
    assert all(trained.count(str(number)) == 1 for number in done)


def test_a_file_is_read_from_its_copy_and_mended(tmp_path: Path) -> None:
    plan, path, said = make_plan(), tmp_path / "plan.json", []
    write_twice(plan, path)
    cut(path)
    assert read_either(Plan, path, said.append) == plan
    assert said == ["plan.json was damaged and has been restored from its copy"]
    assert Plan.read(path) == plan


def test_a_plan_that_is_damaged_twice_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_twice(make_plan(), run.plan)
    cut(run.plan)
    cut(copy_of(run.plan))
    with pytest.raises(RunError, match="so is its copy") as raised:
        frozen_plan(run, make_plan())
    assert "--new" in str(raised.value)
