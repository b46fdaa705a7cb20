from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from curve_backend import make_plan
from fake_pool import Sweep, make_sweep

from sweeper.errors import RunError
from sweeper.execution.state import second_command
from sweeper.execution.state.continuation import plan_to_run
from sweeper.execution.state.second_command import refuse_if_running, run_now
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
    monkeypatch.setattr(second_command, "time", fake)
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
        (a_status(5), second_command.WATCH_SECONDS),  # its machine is gone
    ],
)
def test_a_stale_status_delays_a_start_by_the_time_of_one_look_at_most(
    clock: Clock, tmp_path: Path, status: Status | None, seconds: float
) -> None:
    run = RunFolder(tmp_path)
    if status is not None:
        status.write(run.status)
    refuse_if_running(run)
    assert clock.now == pytest.approx(seconds, abs=second_command._POLL_SECONDS)
    assert run_now([run]) == set()


def test_a_status_that_cannot_be_read_keeps_nobody_from_starting(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.status.write_text("{")
    refuse_if_running(run)
    assert run_now([run]) == set()


def test_it_is_known_which_of_many_runs_somebody_runs(tmp_path: Path, clock: Clock) -> None:
    here, there, dead, new = (RunFolder(tmp_path / n) for n in ("here", "there", "dead", "new"))
    a_status(3).write(dead.status)
    beats(there, clock)
    with here.lock():
        assert run_now([here, there, dead, new]) == {here.path, there.path}


def test_one_that_ends_while_it_is_watched_is_not_running(tmp_path: Path, clock: Clock) -> None:
    run = RunFolder(tmp_path)
    a_status(3).write(run.status)
    clock.then = lambda: a_status(4, process=None).write(run.status)
    assert run_now([run]) == set()


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
