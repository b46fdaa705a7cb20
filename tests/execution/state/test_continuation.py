from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from curve_backend import make_plan
from fake_pool import Sweep, make_sweep

from sweeper.errors import OtherVersion, RunError
from sweeper.execution.state import continuation
from sweeper.execution.state.continuation import (
    changes,
    plan_to_run,
    refuse_if_running,
    running_folders,
)
from sweeper.execution.state.status import Status
from sweeper.runfolder import RunFolder


class Clock:
    """A clock that goes on only while somebody sleeps; ``then`` is what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    fake = SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)
    monkeypatch.setattr(continuation, "time", fake)
    return made


def a_status(beat: int, host: str = "elsewhere", process: int | None = 17) -> Status:
    return Status(
        phase="search", trials=3, started_at="t", updated_at="t",
        process=process, host=host, beat=beat,
    )  # fmt: skip


def beats(run: RunFolder, clock: Clock) -> None:
    """A command on another machine, which writes its status once a second."""
    clock.then = lambda: a_status(int(clock.now)).write(run.status)
    a_status(0).write(run.status)


def test_a_command_on_another_machine_is_not_joined_by_a_second_one(
    tmp_path: Path, clock: Clock
) -> None:
    run = RunFolder(tmp_path / "mine")
    beats(run, clock)
    with run.lock(), pytest.raises(RunError) as caught:
        plan_to_run(run, make_plan())
    said = str(caught.value)
    assert "a sweeper command on elsewhere is running this sweep (process 17)" in said
    assert "overwrite each other's files" in said
    assert not run.plan.exists()


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        (None, 0.0),
        (a_status(5, process=None), 0.0),  # it ended
        (a_status(5, host=socket.gethostname()), 0.0),  # the folder's lock tells
        (a_status(5, host=""), 0.0),  # of a version that did not say
        (a_status(5), continuation.WATCH_SECONDS),  # its machine is gone
    ],
)
def test_a_stale_status_delays_a_start_by_the_time_of_one_look_at_most(
    clock: Clock, tmp_path: Path, status: Status | None, seconds: float
) -> None:
    run = RunFolder(tmp_path)
    if status is not None:
        status.write(run.status)
    refuse_if_running(run)
    assert clock.now == pytest.approx(seconds, abs=continuation._POLL_SECONDS)
    assert running_folders([run]) == set()


def test_a_status_that_cannot_be_read_keeps_nobody_from_starting(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.status.write_text("{")
    refuse_if_running(run)
    assert running_folders([run]) == set()


def test_it_is_known_which_of_many_runs_somebody_runs(tmp_path: Path, clock: Clock) -> None:
    here, there, dead, new = (RunFolder(tmp_path / n) for n in ("here", "there", "dead", "new"))
    a_status(3).write(dead.status)
    beats(there, clock)
    with here.lock():
        assert running_folders([here, there, dead, new]) == {here.path, there.path}


def test_one_that_ends_while_it_is_watched_is_not_running(tmp_path: Path, clock: Clock) -> None:
    run = RunFolder(tmp_path)
    a_status(3).write(run.status)
    clock.then = lambda: a_status(4, process=None).write(run.status)
    assert running_folders([run]) == set()


def test_a_command_shows_where_it_runs_and_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep: Sweep = make_sweep(tmp_path, monkeypatch)
    seen: list[Status] = []
    monkeypatch.setattr("sweeper.execution.owner.STATUS_SECONDS", 0.0)
    sweep.pool.on_poll = lambda: seen.append(Status.read(sweep.run.status))
    outcome = sweep.go(2)
    assert {status.host for status in seen} == {socket.gethostname()}
    assert [status.beat for status in seen] == sorted({status.beat for status in seen})
    assert seen[-1].process is not None
    assert outcome.status.process is None


def test_a_new_run_obeys_the_plan_just_made_and_an_old_one_its_own(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    assert plan_to_run(run, first) is first
    first.write(run.plan)
    later = make_plan().model_copy(update={"recommended": "full"})
    assert plan_to_run(run, later) == first


def test_each_changed_part_of_the_identity_is_named(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    first.write(run.plan)
    other = make_plan(seed=3, strategies="lora")
    assert first.identity is not None
    assert other.identity is not None
    assert changes(first.identity, other.identity) == ["space", "seed"]
    with pytest.raises(RunError) as caught:
        plan_to_run(run, other)
    assert len(caught.value.problems) == 2
    assert "the seed changed since this run began" in str(caught.value)
    assert "--new" in str(caught.value)


def test_a_plan_without_identity_cannot_be_run(tmp_path: Path) -> None:
    plan = make_plan().model_copy(update={"identity": None})
    with pytest.raises(RunError):
        plan_to_run(RunFolder(tmp_path), plan)


def test_a_plan_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    older = json.loads(plan.to_json()) | {"schema_version": 0}
    run.plan.write_text(json.dumps(older))
    with pytest.raises(OtherVersion) as caught:
        plan_to_run(run, plan)
    assert caught.value.problems[0].where == str(run.plan)


def test_what_a_feature_adds_to_the_identity_is_named(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    first.write(run.plan)
    assert first.identity is not None
    other = first.identity.model_copy(update={"features": {"diary": "a"}})
    assert changes(first.identity, other) == changes(other, first.identity) == ["features.diary"]
    with pytest.raises(RunError, match=r"features\.diary"):
        plan_to_run(run, first.model_copy(update={"identity": other}))
