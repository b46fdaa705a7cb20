"""A storage that is away: waited for, said, given up, and never written to twice."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from commands import Sweeper, check_whole
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.patience import Patience, StorageGone, passes, patient
from sweeper.search.storage import Storage, open_storage

from sweeper.errors import RunError
from sweeper.search.study import create_study

FAST, SLOW = {"CURVE_STEP_SECONDS": "0.01"}, {"CURVE_STEP_SECONDS": "0.05"}


def test_a_storage_file_that_is_away_for_a_while_is_waited_for_and_given_up_in_the_end(
    sweeper: Sweeper,
) -> None:
    journal = sweeper.folder / "study.log"
    away = sweeper.folder.parents[1] / "away.log"
    sweeper.url = f"journal:{journal}"
    popen = sweeper.start(8, 2, SWEEPER_STORAGE_PATIENCE="6", **SLOW)
    sweeper.wait_for(lambda: len(sweeper.lines("trained.log")) > 2, 120.0)
    journal.rename(away)
    sweeper.wait_for(lambda: any("does not answer" in e for e in sweeper.events("warning")), 20.0)
    away.rename(journal)
    sweeper.wait_for(lambda: any("answers again" in e for e in sweeper.events("warning")), 20.0)
    trained = len(sweeper.lines("trained.log"))
    sweeper.wait_for(lambda: len(sweeper.lines("trained.log")) > trained, 60.0)
    journal.rename(away)
    _, errors = popen.communicate(timeout=60)
    assert popen.returncode == 2
    assert "the storage has not answered for" in errors
    assert "it resumes" in errors
    assert not sweeper.workers()
    away.rename(journal)
    sweeper.finish(8, 2, **FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURVE_STORAGE", sweeper.url)
        check_whole(sweeper, 8)
    assert not [row for row in sweeper.table().values() if row["failure"]]


def test_a_locked_sqlite_file_is_waited_for_by_workers_and_command(commands) -> None:
    popen = commands.start(5, 1, CURVE_QUICK="1", SWEEPER_STORAGE_PATIENCE="60", **FAST)
    commands.wait_for(lambda: commands.lines("trained.log"), 60.0)
    lock = sqlite3.connect(commands.run.study, timeout=30)
    lock.execute("BEGIN IMMEDIATE")
    commands.wait_for(lambda: "does not answer" in commands.run.events.read_text(), 60.0)
    lock.rollback()
    lock.close()
    _, errors = popen.communicate(timeout=120)
    assert popen.returncode == 0, errors
    assert "answers again" in commands.run.events.read_text()
    assert len(commands.states()) == 5
    assert all(lease_of(trial).attempt == 1 for trial in commands.trials())


class Flaky:
    """A storage that fails before or after it has done what was asked, the first so many times."""

    def __init__(self, inner: optuna.storages.BaseStorage) -> None:
        self.inner = inner
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}

    def __getattr__(self, name: str):
        real = getattr(self.inner, name)

        def call(*args: object, **kwargs: object) -> object:
            for failures in (self.before, self.after):
                if failures is self.after:
                    result = real(*args, **kwargs)
                if failures.get(name, 0) > 0:
                    failures[name] -= 1
                    cause = sqlalchemy.exc.OperationalError("x", None, OSError("connection lost"))
                    raise StorageInternalError("gone") from cause
            return result

        return call


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    return Flaky(open_storage(f"journal:{tmp_path}/s.log").optuna)


@pytest.fixture
def queue(tmp_path: Path, flaky: Flaky, said: list[str]) -> Queue:
    plain = open_storage(f"journal:{tmp_path}/s.log")
    patience = Patience(say=said.append)
    storage = patient(Storage(plain.url, flaky, plain.exclusive), patience)  # type: ignore[arg-type]
    return Queue(storage, create_study(storage, "s"), patience)


def test_one_line_says_that_it_went_away_and_one_that_it_is_back(
    queue: Queue, flaky: Flaky, said: list[str]
) -> None:
    flaky.before = {"get_all_trials": 3}
    assert queue.trials() == []
    assert len(said) == 2
    assert "does not answer (connection lost); trying again for up to 300 s" in said[0]
    assert "answers again" in said[1]


def test_a_trial_whose_answer_was_lost_is_not_added_twice(queue: Queue, flaky: Flaky) -> None:
    flaky.after = {"create_new_trial": 1}
    queue.add({}, {"n": 1})
    queue.add({}, {"n": 2})
    assert [trial.user_attrs["n"] for trial in queue.trials()] == [1, 2]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["set_trial_state_values", "set_trial_system_attr"])
def test_a_claim_that_was_cut_off_is_held_by_its_worker_or_by_nobody(
    queue: Queue, flaky: Flaky, when: str, call: str
) -> None:
    queue.add({}, {})
    queue.add({}, {})
    setattr(flaky, when, {call: 1})
    claim = queue.claim("h/1/0")
    assert claim is not None
    assert claim.held()
    running = queue.trials(TrialState.RUNNING)
    assert [lease_of(trial).owner for trial in running if lease_of(trial).owner] == ["h/1/0"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_end_that_was_cut_off_is_told_once_and_told_to_be_so(
    queue: Queue, flaky: Flaky, when: str
) -> None:
    queue.add({}, {})
    claim = queue.claim("h/1/0")
    assert claim is not None
    setattr(flaky, when, {"set_trial_state_values": 1})
    assert claim.finish(TrialState.COMPLETE, 0.5)
    assert queue.trial(0).value == 0.5
    assert not claim.finish(TrialState.COMPLETE, 0.6)


def test_it_gives_up_after_the_stated_time_and_sooner_when_told_to_stop(queue: Queue) -> None:
    def fail() -> None:
        raise OSError("stale file handle")

    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    patience = Patience(seconds=8.0, clock=clock)
    with pytest.raises(StorageGone, match="has not answered for"):
        patience.call(fail)
    taken = now[0]
    patience = Patience(seconds=1000.0, clock=clock, hurried=lambda: True)
    with pytest.raises(StorageGone):
        patience.call(fail)
    assert now[0] - taken < taken


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("stale file handle"), True),
        (sqlalchemy.exc.OperationalError("x", None, Exception("locked")), True),
        (StorageInternalError("x"), True),
        (StorageInternalError("database or disk is full"), False),
        (sqlalchemy.exc.IntegrityError("x", None, Exception("unique")), False),
        (RunError("cannot open"), False),
        (KeyError("no such study"), False),
    ],
)
def test_it_knows_what_passes_by_itself(error: Exception, expected: bool) -> None:
    assert passes(error) is expected


@contextmanager
def stopped(url: str) -> Iterator[None]:
    """The server of that URL, gone without a word and started again."""
    from benchmarks.execution import postgresql  # needs the driver

    folder = Path(sqlalchemy.make_url(url).query["host"])
    program = postgresql.programs()
    assert program is not None
    command = [*postgresql._as_somebody(), str(program / "pg_ctl"), "-D", str(folder / "data")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*command, "-m", "immediate", "-w", "stop"], check=True, **quiet)
    try:
        yield
    finally:
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        start = [*command, "-w", "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, stdin=subprocess.DEVNULL, **quiet)


def test_a_postgresql_server_may_crash_and_come_back(
    commands, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_STORAGE", postgresql_url)
    popen = commands.start(6, 2, CURVE_QUICK="1", **SLOW)
    commands.wait_for(lambda: len(commands.lines("trained.log")) > 1, 120.0)
    with stopped(postgresql_url):
        events = commands.run.events
        commands.wait_for(lambda: "does not answer" in events.read_text(), 60.0)
    _, errors = popen.communicate(timeout=120)
    assert popen.returncode == 0, errors
    check_whole(commands, 6)
    assert all(lease_of(trial).crashes == 0 for trial in commands.trials())
