"""The run's study in ``study.db``: kept in step with the search, locked, damaged, out of room."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from commands import Sweeper, check_whole, ended_after
from curve_backend import make_plan, make_spec
from fake_pool import Sweep as FakeSweep
from fake_pool import dies, make_sweep
from optuna.trial import FrozenTrial, TrialState
from spaces import LIMIT, beyond, ended, report

from sweeper.errors import RunError
from sweeper.execution import owner
from sweeper.execution.state import attempts
from sweeper.features.storage import _study_file as module
from sweeper.features.storage._study_file import StudyFile
from sweeper.features.storage.listener import listen
from sweeper.search.search import Search, known_starts
from sweeper.trials import TrialConfig


@pytest.fixture
def search() -> Search:
    plan = make_plan(9)
    return Search(plan, tuple(known_starts(plan, 9)), limits=(LIMIT,))


@pytest.fixture
def file(tmp_path: Path, search: Search) -> StudyFile:
    return StudyFile(tmp_path / "study.db", "s", search.study)


@pytest.fixture
def another(tmp_path: Path) -> Callable[[Search], StudyFile]:
    """The file as the next call of the command has it."""
    return lambda search: StudyFile(tmp_path / "study.db", "s", search.study)


def seen(path: Path, name: str = "s") -> list[FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path / 'study.db'}")
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.engine.dispose()  # or it would hold files that are damaged below
    return trials


def test_plain_optuna_finds_the_whole_study(
    file: StudyFile, search: Search, tmp_path: Path
) -> None:
    for loss, excess in ((0.4, 0.1), (0.5, -0.1), (0.6, -0.1)):
        number = search.ask().number
        search.report(number, report(1, loss + 1))
        file.write({number})
        search.report(number, report(2, loss))
        search.tell(number, ended("COMPLETE", loss, 3.0, measures=beyond(excess)))
    pruned, failed, running = (search.ask().number for _ in range(3))
    search.report(pruned, report(1, 7.0))
    search.tell(pruned, ended("PRUNED"))
    search.tell(failed, ended("FAIL"))
    search.report(running, report(1, 6.0))
    file.write({running})
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
    mine = search.study.trials
    assert [t.params for t in study.trials] == [t.params for t in mine]
    assert [t.intermediate_values for t in study.trials] == [t.intermediate_values for t in mine]
    assert [t.values for t in study.trials] == [t.values for t in mine]
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "RUNNING"]
    assert study.trials[4].user_attrs["sweeper:failure"] == "diverged"
    assert study.best_trial.number == 1  # trial 0 has the lowest loss and breaks the limit
    assert study.directions == search.study.directions


def test_a_reader_does_not_wait_for_the_writer(
    file: StudyFile, search: Search, tmp_path: Path
) -> None:
    search.ask()
    file.write()
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db", timeout=0.0)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert len(seen(tmp_path)) == 1
        writer.rollback()
    assert (tmp_path / "study.db-wal").exists()


def test_rungs_of_an_attempt_that_broke_off_become_no_numbers(
    file: StudyFile, search: Search, tmp_path: Path
) -> None:
    number = search.ask().number
    for step in (1, 2, 3):
        search.report(number, report(step, 9.0))
    file.write({number})
    search.restart(number, [report(1, 2.0)])  # from a checkpoint
    file.write({number})
    search.report(number, report(2, 1.5))
    search.tell(number, ended("COMPLETE", 1.5))
    file.write()
    values = seen(tmp_path)[0].intermediate_values
    assert (values[1], values[2]) == (2.0, 1.5)
    assert math.isnan(values[3])


def test_a_trial_without_a_worker_waits(
    file: StudyFile, search: Search, another: Callable[[Search], StudyFile], tmp_path: Path
) -> None:
    for _ in range(3):
        search.ask()
    file.write({0, 2})
    states = [TrialState.RUNNING, TrialState.WAITING, TrialState.RUNNING]
    assert [trial.state for trial in seen(tmp_path)] == states  # and then it is killed
    again = another(search)
    again.write({1})
    states = [TrialState.WAITING, TrialState.RUNNING, TrialState.WAITING]
    assert [trial.state for trial in seen(tmp_path)] == states
    again.write()
    assert [trial.state for trial in seen(tmp_path)] == [TrialState.WAITING] * 3


def test_each_call_writes_the_study_anew_and_leaves_those_of_others(
    file: StudyFile, search: Search, another: Callable[[Search], StudyFile], tmp_path: Path
) -> None:
    for loss in (0.5, 0.4):
        search.tell(search.ask().number, ended("COMPLETE", loss))
    file.write()
    file.close()
    optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'study.db'}")
    plan = make_plan(9)
    found = Search(plan, tuple(known_starts(plan, 9)))
    found.tell(found.ask().number, ended("COMPLETE", 0.1))
    again = another(found)
    again.write()
    again.close()
    mine = [(trial.state, trial.values, trial.params) for trial in found.study.trials]
    assert [(trial.state, trial.values, trial.params) for trial in seen(tmp_path)] == mine
    assert seen(tmp_path, "mine") == []


# What keeps it from being written.


def locked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path / "study.db")
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_a_locked_file_is_written_later(
    file: StudyFile, search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCKED_SECONDS", 0.01)
    monkeypatch.setattr(optuna.storages._rdb.storage.time, "sleep", lambda _: None)
    file.write()
    search.ask()
    search.ask()
    with contextlib.closing(locked(tmp_path)):
        with pytest.raises(RunError, match="is locked"):
            file.write({0, 1})
        assert seen(tmp_path) == []
    file.write({0, 1})
    assert [trial.state.name for trial in seen(tmp_path)] == ["RUNNING"] * 2


def test_a_file_that_cannot_be_written_is_made_anew(
    file: StudyFile, search: Search, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file.write()
    search.ask()

    def fail(*_args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "create_new_trial", fail)
        with pytest.raises(RunError, match="disk is full"):
            file.write()
    assert not (tmp_path / "study.db").exists()
    file.write()
    assert len(seen(tmp_path)) == 1


# A damaged file.


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    return make_sweep(tmp_path, monkeypatch)


def garbage(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 400)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096 * 4 : 4096 * 9] = b"\0" * 4096 * 5
    path.write_bytes(whole)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def lost(path: Path) -> None:
    path.unlink()
    path.with_name("study.db-wal").write_bytes(b"left over")
    path.with_name("study.db-shm").write_bytes(b"left over")


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def changed(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return change


orphaned = changed("delete from trials where number = 1")


DAMAGED = {
    "garbage": garbage,
    "truncated": truncated,
    "with a hole": holed,
    "with an orphan": orphaned,
    "header only": cut_in_the_header,
    "pipe": a_pipe,
    "of a later Optuna": changed("update alembic_version set version_num = 'v99.0.0'"),
    "other columns": changed("drop table studies", "create table studies (a)"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_whatever_lies_in_the_place_of_the_file_is_replaced(
    file: StudyFile,
    search: Search,
    another: Callable[[Search], StudyFile],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    search.ask()
    search.ask()
    file.write()
    file.close()
    damage(tmp_path / "study.db")
    again = another(search)
    with pytest.raises(RunError, match="could not be written"):
        again.write()
    again.write()
    assert len(seen(tmp_path)) == 2


@pytest.mark.parametrize("damage", [emptied, lost])
def test_a_file_that_is_gone_is_made_again(
    file: StudyFile,
    search: Search,
    another: Callable[[Search], StudyFile],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    search.ask()
    file.write()
    file.close()
    damage(tmp_path / "study.db")
    another(search).write()
    assert len(seen(tmp_path)) == 1


# A whole run.


def test_it_holds_what_the_folder_does(sweep: FakeSweep) -> None:
    sweep.pool.parts = {"trial-2": dies(2), "trial-1/1": dies(3)}
    sweep.go(4)
    spec = make_spec(4)
    listen("storage", sweep.run, spec).end("complete")
    trials = seen(sweep.run.path, "run")
    assert len(trials) == 4
    for trial in trials:
        result = sweep.result(trial.number)
        config = TrialConfig.read(sweep.run.trial(trial.number) / "config.json")
        key = trial.params["strategy"]
        chosen = {name.removeprefix(f"{key}."): value for name, value in trial.params.items()}
        assert (result.state, config.strategy) == (trial.state.name, chosen.pop("strategy"))
        assert chosen.items() <= config.parameters.items()
        assert trial.user_attrs["sweeper:origin"] == config.origin
        if result.state != "FAIL":
            rungs = attempts.read_rungs(sweep.run.trial(trial.number))
            assert trial.intermediate_values == {one.rung: one.validation_loss for one in rungs}
            assert trial.value == result.validation_loss or result.state == "PRUNED"
    assert trials[2].state == TrialState.FAIL


def test_it_follows_a_run(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "STATUS_SECONDS", 0.0)  # the writer learns from it what is running
    sweep.pool.parts = {"trial-1/1": dies(3, lost=True)}
    states: list[list[str]] = []
    writer = []

    def look() -> None:
        if not writer:
            writer.append(listen("storage", sweep.run, make_spec(2)))
        writer[0].catch_up()
        states.append([trial.state.name for trial in seen(sweep.run.path, "run")])

    sweep.pool.on_poll = look
    sweep.go(2)
    writer[0].end("complete")
    assert ["COMPLETE", "RUNNING"] in states
    assert [trial.state.name for trial in seen(sweep.run.path, "run")] == ["COMPLETE"] * 2


# A whole command.


def test_trials_go_on_while_the_file_is_locked(tmp_path: Path) -> None:
    made = Sweeper(tmp_path / "runs" / "run")
    with ended_after(made):
        popen = made.start(5, 1, CURVE_QUICK="1", CURVE_STEP_SECONDS="0.01")
        made.wait_for(made.run.study.is_file)
        lock = sqlite3.connect(made.run.study, timeout=300)
        lock.execute("BEGIN IMMEDIATE")
        made.wait_for(lambda: len(made.lines("trained.log")) >= 5)
        lock.rollback()
        lock.close()
        _, errors = popen.communicate(timeout=300)
        assert popen.returncode == 0, errors
        check_whole(made, 5)
    mine = [(trial.state, trial.value) for trial in made.trials()]
    assert [(trial.state, trial.value) for trial in seen(made.folder, "run")] == mine
