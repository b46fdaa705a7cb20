"""The run's study in ``study.db``: made from the run's files, locked, damaged, out of room."""

from __future__ import annotations

import contextlib
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
from sweeper.execution.next_attempt import configure
from sweeper.execution.state.status import Status, make_event
from sweeper.processes import study_file as module
from sweeper.processes.report_maker import ReportMaker
from sweeper.processes.study_file import StudyFile
from sweeper.runfolder import RUNGS, RunFolder
from sweeper.search.search import Search, first_trials
from sweeper.trials import RungReport, TrialConfig, TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")


class Trials:
    """A run folder whose trials the test begins and ends."""

    def __init__(self, path: Path) -> None:
        self.run, plan = RunFolder(path / "s"), make_plan(9)
        self.run.path.mkdir()
        plan.write(self.run.plan)
        self.plan, self.search = plan, Search(plan, tuple(first_trials(plan, 9)), limits=(LIMIT,))

    def begin(self, count: int = 1) -> int:
        for _ in range(count):
            trial = self.search.ask()
            self.run.trial(trial.number).mkdir(parents=True)
            configure(self.plan, trial).write(self.run.trial(trial.number) / "config.json")
        return trial.number

    def rung(self, number: int, rung: int, loss: float) -> None:
        self.search.report(number, report(rung, loss))
        with (self.run.trial(number) / "rungs.jsonl").open("a") as file:
            file.write(report(rung, loss).model_dump_json() + "\n")

    def end(self, number: int, result: TrialResult) -> None:
        self.search.tell(number, result)
        result.write(self.run.trial(number) / "result.json")

    def running(self, *numbers: int) -> None:
        busy = tuple(
            make_event("trial-started", worker=str(number), trial=number) for number in numbers
        )
        status = Status(phase="search", trials=9, running=busy, started_at="", updated_at="")
        status.write(self.run.status)


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(tmp_path)


@pytest.fixture
def file(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> StudyFile:
    monkeypatch.setattr(module, "limits_of", lambda _spec: (LIMIT,))
    return StudyFile(trials.run, make_spec(9))


def seen(path: Path, name: str = "s") -> list[FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path / 'study.db'}")
    trials = optuna.load_study(study_name=name, storage=storage).trials
    storage.engine.dispose()  # or it would hold files that are damaged below
    return trials


def test_plain_optuna_finds_the_whole_study(file: StudyFile, trials: Trials) -> None:
    for loss, violation in ((0.4, 0.1), (0.5, -0.1), (0.6, -0.1)):
        number = trials.begin()
        trials.rung(number, 1, loss + 1)
        file.write()
        trials.rung(number, 2, loss)
        trials.end(number, ended("COMPLETE", loss, 3.0, measures=beyond(violation)))
    pruned, failed, running = (trials.begin() for _ in range(3))
    trials.rung(pruned, 1, 7.0)
    trials.end(pruned, ended("PRUNED"))
    trials.end(failed, ended("FAIL"))
    trials.rung(running, 1, 6.0)
    trials.running(running)
    file.write()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{trials.run.study}")
    mine = trials.search.study.trials
    assert [t.params for t in study.trials] == [t.params for t in mine]
    assert [t.intermediate_values for t in study.trials] == [t.intermediate_values for t in mine]
    assert [t.values for t in study.trials] == [t.values for t in mine]
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "RUNNING"]
    assert study.trials[4].user_attrs["sweeper:failure"] == "diverged"
    assert study.best_trial.number == 1  # trial 0 has the lowest loss and breaks the limit
    assert study.directions == trials.search.study.directions


def test_a_trial_that_ends_before_an_earlier_one_keeps_its_number(
    file: StudyFile, trials: Trials
) -> None:
    trials.begin(3)
    trials.running(0, 2)
    trials.end(1, ended("COMPLETE", 0.5))
    file.write()
    states = [TrialState.RUNNING, TrialState.COMPLETE, TrialState.RUNNING]
    assert [trial.state for trial in seen(trials.run.path)] == states
    trials.running()
    trials.end(0, ended("COMPLETE", 0.4))
    file.write()
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.WAITING]
    assert [trial.state for trial in seen(trials.run.path)] == states
    assert [trial.value for trial in seen(trials.run.path)] == [0.4, 0.5, None]


def test_rungs_of_an_attempt_that_broke_off_are_gone(file: StudyFile, trials: Trials) -> None:
    number = trials.begin()
    for rung in (1, 2, 3):
        trials.rung(number, rung, 9.0)
    file.write()
    (trials.run.trial(number) / "rungs.jsonl").unlink()
    trials.rung(number, 1, 2.0)
    file.write()
    assert seen(trials.run.path)[0].intermediate_values == {1: 2.0}


# What keeps it from being written.


@pytest.mark.parametrize("unfinished", [0, 1])
def test_a_locked_file_is_written_later(
    file: StudyFile, trials: Trials, monkeypatch: pytest.MonkeyPatch, unfinished: int
) -> None:
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.01)
    file.write()
    trials.end(trials.begin(), ended("COMPLETE", 0.5))
    for _ in range(unfinished):
        trials.begin()
    with contextlib.closing(sqlite3.connect(trials.run.study)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunError):
            file.write()
        assert seen(trials.run.path) == []
    file.write()
    assert len(seen(trials.run.path)) == 1 + unfinished


def test_why_it_was_not_written_is_told_beside_the_report(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=2)
    run.study.mkdir()
    with ReportMaker(run, spec=make_spec(2)) as maker:
        maker.finish(try_charts=False)
        assert "study.db" in maker.no_study
        assert run.report.is_file()
        run.study.rmdir()
        maker.finish(try_charts=False)
        assert maker.no_study == ""
    assert len(seen(run.path, run.path.name)) == 2


# A damaged file.


def garbage(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 400)


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


DAMAGED = {
    "garbage": garbage,
    "pipe": a_pipe,
    "of a later Optuna": changed("update alembic_version set version_num = 'v99.0.0'"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_whatever_lies_in_the_place_of_the_file_is_replaced(
    file: StudyFile, trials: Trials, damage: Callable[[Path], None]
) -> None:
    trials.begin(2)
    file.write()
    damage(trials.run.study)
    file.write()
    assert len(seen(trials.run.path)) == 2


# A whole run.


def test_it_holds_what_the_folder_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep: FakeSweep = make_sweep(tmp_path, monkeypatch)
    sweep.pool.parts = {"trial-2": dies(2), "trial-1/1": dies(3)}
    sweep.go(4)
    StudyFile(sweep.run, make_spec(4)).write()
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
            rungs = RungReport.read_lines(sweep.run.trial(trial.number) / RUNGS)
            assert trial.intermediate_values == {one.rung: one.validation_loss for one in rungs}
            assert trial.value == result.validation_loss or result.state == "PRUNED"
    assert trials[2].state == TrialState.FAIL


# A whole command.


def test_trials_go_on_while_the_file_is_locked(tmp_path: Path) -> None:
    made = Sweeper(tmp_path / "runs" / "run")
    with ended_after(made):
        popen = made.start(5, 1, CURVE_QUICK="1", CURVE_STEP_SECONDS="0.01")
        made.wait_for(lambda: made.lines("trained.log"))
        lock = sqlite3.connect(made.run.study, timeout=300)
        lock.execute("BEGIN IMMEDIATE")
        made.wait_for(lambda: len(made.lines("trained.log")) == 5)
        lock.rollback()
        lock.close()
        _, errors = popen.communicate(timeout=300)
        assert popen.returncode == 0, errors
        check_whole(made, 5)
    mine = [(trial.state, trial.value) for trial in made.trials()]
    assert [(trial.state, trial.value) for trial in seen(made.folder, "run")] == mine
