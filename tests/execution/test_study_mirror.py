"""A storage behind the search: kept in step, away and back, given up, damaged, never doubled."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from commands import Commands, Sweeper, check_whole
from curve_backend import make_plan
from fake_pool import Sweep as FakeSweep
from fake_pool import dies, make_sweep
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError
from sweeper.execution import study_mirror
from sweeper.execution.disk import NoRoom
from sweeper.execution.state import attempts
from sweeper.execution.storages import default_url, open_storage
from sweeper.execution.study_mirror import StorageGone, StudyMirror
from sweeper.search.search import End, Rung, Search, known_starts
from sweeper.trials import TrialConfig

IDENTITY = {"seed": "0"}
FAST, SLOW = {"CURVE_STEP_SECONDS": "0.01"}, {"CURVE_STEP_SECONDS": "0.05"}


class Flaky:
    """A storage that fails before or after it has done what was asked, the first so many times."""

    def __init__(self, inner: optuna.storages.BaseStorage) -> None:
        self.inner = inner
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.error: Exception = OSError("connection lost")

    def __getattr__(self, name: str):
        real = getattr(self.inner, name)

        def call(*args: object, **kwargs: object) -> object:
            for failures in (self.before, self.after):
                if failures is self.after:
                    result = real(*args, **kwargs)
                if failures.get(name, 0) > 0:
                    failures[name] -= 1
                    cause = sqlalchemy.exc.OperationalError("x", None, self.error)
                    raise StorageInternalError("gone") from cause
            return result

        return call


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"journal:{tmp_path}/s.log"


@pytest.fixture
def flaky(url: str, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    made = Flaky(open_storage(url))
    monkeypatch.setattr(study_mirror, "open_storage", lambda _url: made)
    monkeypatch.setattr(study_mirror, "_FIRST_WAIT", 0.001)
    return made


@pytest.fixture
def mirror(url: str, flaky: Flaky, said: list[str]) -> StudyMirror:
    return StudyMirror(url, "s", say=said.append)


def a_search() -> Search:
    plan = make_plan(9)
    return Search(plan, tuple(known_starts(plan, 9)))


def seen(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="s", storage=open_storage(url)).trials


def begin(mirror: StudyMirror, search: Search) -> int:
    number = search.ask().number
    mirror.show(search.trial(number))
    return number


def rung(mirror: StudyMirror, search: Search, number: int, rung: int, loss: float) -> None:
    search.report(number, Rung(rung, loss))
    mirror.show(search.trial(number))


def end(mirror: StudyMirror, search: Search, number: int, end: End) -> None:
    search.tell(number, end)
    mirror.show(search.trial(number), shown_too={"shown": 1.5})


def test_plain_optuna_finds_the_whole_study(mirror: StudyMirror, url: str) -> None:
    search = a_search()
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    for loss, excess in ((0.4, 0.1), (0.5, -0.1), (0.6, -0.1)):
        number = begin(mirror, search)
        rung(mirror, search, number, 1, loss + 1)
        rung(mirror, search, number, 2, loss)
        end(mirror, search, number, End("COMPLETE", loss, 3.0, "", excess))
    pruned, failed, running = (begin(mirror, search) for _ in range(3))
    rung(mirror, search, pruned, 1, 7.0)
    end(mirror, search, pruned, End("PRUNED", 7.0))
    end(mirror, search, failed, End("FAIL", failure="crash"))
    rung(mirror, search, running, 1, 6.0)
    mirror.close()
    mirror.check()
    study = optuna.load_study(study_name="s", storage=open_storage(url))
    mine = search.study.trials
    assert [t.params for t in study.trials] == [t.params for t in mine]
    assert [t.intermediate_values for t in study.trials] == [t.intermediate_values for t in mine]
    assert [t.values for t in study.trials] == [t.values for t in mine]
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "RUNNING"]
    assert study.trials[4].user_attrs["sweeper:failure"] == "crash"
    assert study.trials[0].user_attrs["shown"] == 1.5
    assert study.best_trial.number == 1  # trial 0 has the lowest loss and breaks the limit


def test_rungs_of_an_attempt_that_broke_off_become_no_numbers(
    mirror: StudyMirror, url: str
) -> None:
    search = a_search()
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    number = begin(mirror, search)
    for step in (1, 2, 3):
        rung(mirror, search, number, step, 9.0)
    mirror.show(search.trial(number), TrialState.WAITING)
    search.restart(number, [Rung(1, 2.0)])  # from a checkpoint
    mirror.show(search.trial(number))
    rung(mirror, search, number, 2, 1.5)
    end(mirror, search, number, End("COMPLETE", 1.5))
    mirror.close()
    values = seen(url)[0].intermediate_values
    assert values[1] == 2.0
    assert values[2] == 1.5
    assert math.isnan(values[3])


def test_a_trial_that_waits_is_shown_so_and_one_that_a_killed_command_had_too(
    mirror: StudyMirror, url: str
) -> None:
    search = a_search()
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    for _ in range(2):
        begin(mirror, search)
    mirror.show(search.trial(1), TrialState.WAITING)
    mirror.close()
    assert [trial.state for trial in seen(url)] == [TrialState.RUNNING, TrialState.WAITING]
    again = StudyMirror(url, "s")
    again.start(search.study.trials, again.open(IDENTITY), IDENTITY)
    again.close()
    assert [trial.state for trial in seen(url)] == [TrialState.WAITING] * 2


def test_one_line_says_that_it_went_away_and_one_that_it_is_back(
    mirror: StudyMirror, flaky: Flaky, said: list[str]
) -> None:
    flaky.before = {"get_all_studies": 3}
    assert mirror.open(IDENTITY) == []
    assert len(said) == 2
    assert "does not answer (connection lost); trying again for up to 300 s" in said[0]
    assert "answers again" in said[1]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "call",
    ["create_new_study", "set_study_user_attr", "create_new_trial", "set_trial_state_values",
     "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr"],
)  # fmt: skip
def test_an_answer_that_was_lost_doubles_nothing_and_loses_nothing(
    mirror: StudyMirror, flaky: Flaky, url: str, call: str, when: str
) -> None:
    search = a_search()
    setattr(flaky, when, {call: 2})
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    for loss in (0.5, 0.6):
        number = begin(mirror, search)
        rung(mirror, search, number, 1, loss)
        end(mirror, search, number, End("COMPLETE", loss, excess=0.0))
    mirror.close()
    mirror.check()
    storage = open_storage(url)
    assert len(storage.get_all_studies()) == 1
    assert storage.get_all_studies()[0].user_attrs == {"sweeper:identity": IDENTITY}
    trials = seen(url)
    assert [trial.value for trial in trials] == [0.5, 0.6]
    assert [trial.intermediate_values for trial in trials] == [{1: 0.5}, {1: 0.6}]
    assert all(trial.user_attrs["shown"] == 1.5 for trial in trials)


@pytest.mark.parametrize("call", ["delete_study", "create_new_study", "create_new_trial"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_study_is_written_anew_once_however_often_that_is_tried(
    mirror: StudyMirror, flaky: Flaky, url: str, call: str, when: str
) -> None:
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    begin(mirror, a_search())
    mirror.close()
    search = a_search()
    search.ask()
    other = search.ask()  # not what the storage holds
    search.tell(other.number, End("FAIL"))
    search.tell(0, End("COMPLETE", 0.1))
    again = StudyMirror(url, "s")
    stored = again.open(IDENTITY)
    stored[0].params = {}
    setattr(flaky, when, {call: 2})
    again.start(search.study.trials, stored, IDENTITY)
    again.close()
    again.check()
    assert [trial.state.name for trial in seen(url)] == ["COMPLETE", "FAIL"]


def test_it_gives_up_after_the_stated_time_and_sooner_when_told_to_stop(
    url: str, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(study_mirror.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    flaky.before = {"get_all_studies": math.inf}
    mirror = StudyMirror(url, "s", patience=60.0, clock=lambda: now[0])
    with pytest.raises(StorageGone, match=r"has not answered for 6\d s") as caught:
        mirror.open(IDENTITY)
    assert "it resumes" in str(caught.value)
    assert 60 < now[0] < 70
    now[0] = 0.0
    mirror = StudyMirror(url, "s", patience=60.0, clock=lambda: now[0], hurried=lambda: True)
    with pytest.raises(StorageGone):
        mirror.open(IDENTITY)
    assert now[0] < 5


def test_nobody_waits_for_a_storage_that_is_away_and_the_end_waits_for_it(
    mirror: StudyMirror, flaky: Flaky, url: str
) -> None:
    back = threading.Event()
    search = a_search()
    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    real = flaky.inner.create_new_trial
    flaky.inner.create_new_trial = lambda *args: back.wait(10) and real(*args)  # type: ignore
    end(mirror, search, begin(mirror, search), End("COMPLETE", 0.5))
    assert mirror.behind
    assert seen(url) == []
    back.set()
    mirror.close()
    assert not mirror.behind
    assert [trial.value for trial in seen(url)] == [0.5]


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (OSError(28, "No space left on device"), NoRoom, "No space left"),
        (sqlite3.DatabaseError("database disk image is malformed"), RunError, "cannot be written"),
    ],
)
def test_what_keeps_it_from_being_written_is_told_to_whoever_asks(
    mirror: StudyMirror, flaky: Flaky, error: Exception, raised: type[Exception], text: str
) -> None:
    def fail(*_args: object) -> None:
        raise error

    mirror.start([], mirror.open(IDENTITY), IDENTITY)
    flaky.inner.create_new_trial = fail  # type: ignore[method-assign]
    begin(mirror, a_search())
    mirror.close()
    assert not mirror.behind
    with pytest.raises(raised, match=text):
        mirror.check()


# A damaged file, under a whole run.


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


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


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


@pytest.mark.parametrize("damage", [garbage, truncated, holed, emptied, lost, orphaned])
def test_the_runs_own_file_is_made_anew_from_the_folder(
    sweep: FakeSweep, damage: Callable[[Path], None]
) -> None:
    sweep.go(3, storage=None)
    file = sweep.run.study

    def shown() -> list[tuple[object, ...]]:
        storage = optuna.storages.RDBStorage(default_url(file))
        trials = optuna.load_study(study_name="run", storage=storage).trials
        storage.engine.dispose()  # or it would hold files that are damaged below
        return [(t.state, t.value, t.params, t.intermediate_values) for t in trials]

    before = shown()
    damage(file)
    left = file.read_bytes() if file.is_file() else b""
    sweep.pool.jobs.clear()
    assert sweep.go(3, storage=None).kind == "complete"
    assert sweep.pool.jobs == []
    assert shown() == before
    aside = file.with_name("study.db.damaged")
    if damage in (emptied, lost):  # that is no damage: there is nothing to set aside
        assert not aside.exists()
        assert sweep.said("warning") == []
    else:
        assert aside.read_bytes() == left
        assert sweep.said("warning") == [
            "study.db was damaged and is written anew from the run's files; what was left of it "
            "is study.db.damaged"
        ]
    assert sweep.go(4, storage=None).status.done == 4


UNREADABLE = {
    "header only": cut_in_the_header,
    "folder": a_folder,
    "pipe": a_pipe,
    "of a later Optuna": changed("update alembic_version set version_num = 'v99.0.0'"),
    "other columns": changed("drop table studies", "create table studies (a)"),
    "deep JSON": changed(f"update study_user_attributes set value_json = '{'[' * 100_000}'"),
}


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "study.db"
    mirror = StudyMirror(default_url(file), "run", own=file)
    mirror.open({"model": "m"})
    mirror.close()
    return file


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_whatever_lies_in_the_place_of_the_runs_own_file_is_set_aside_at_once(
    study_file: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = Path(shutil.copy(study_file, tmp_path))
    damage(file)
    said: list[str] = []
    mirror = StudyMirror(default_url(file), "run", own=file, say=said.append, patience=0.1)
    assert mirror.open({"model": "m"}) == []
    mirror.close()
    assert "is written anew from the run's files" in said.pop()
    assert file.is_file()
    assert file.with_name("study.db.damaged").exists()


def test_a_file_without_permission_is_an_error_at_once(
    study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match=r"cannot open the storage .*study\.db") as caught:
        StudyMirror(default_url(study_file), "run", own=study_file).open({"model": "m"})
    assert "Permission denied" in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///{}/elsewhere.db", "journal:{}/elsewhere.log"])
def test_any_other_storage_that_is_damaged_is_an_error_that_says_what_to_do(
    sweep: FakeSweep, url: str
) -> None:
    url = url.format(sweep.run.path)
    path = Path(url.partition(":")[2].removeprefix("//").replace("//", "/"))
    sweep.go(1, storage=url)
    assert not sweep.run.study.exists()
    garbage(path)
    path.write_bytes(path.read_bytes() + b"\n{}\n")
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"elsewhere.* is damaged") as caught:
        sweep.go(1, storage=url)
    assert "Move it away" in str(caught.value)
    assert path.read_bytes() == before
    path.unlink()
    assert sweep.go(1, storage=url).kind == "complete"
    assert len(optuna.load_study(study_name="run", storage=open_storage(url)).trials) == 1


@pytest.mark.parametrize("url", [None, "sqlite:///{}/elsewhere.db", "journal:{}/elsewhere.log"])
def test_whichever_storage_is_named_holds_what_the_folder_does(
    sweep: FakeSweep, url: str | None
) -> None:
    url = url.format(sweep.run.path) if url else None
    sweep.pool.parts = {"trial-2": dies(2), "trial-1/1": dies(3)}
    sweep.go(4, storage=url)
    storage = open_storage(url or default_url(sweep.run.study))
    study = optuna.load_study(study_name="run", storage=storage)
    assert len(study.trials) == 4
    for trial in study.trials:
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
    assert study.trials[2].state == TrialState.FAIL


# Whole commands.


def test_a_storage_file_that_is_away_for_a_while_is_waited_for_and_given_up_in_the_end(
    sweeper: Sweeper,
) -> None:
    journal = sweeper.folder / "study.log"
    away = sweeper.folder.parents[1] / "away.log"
    sweeper.url = f"journal:{journal}"
    popen = sweeper.start(8, 2, SWEEPER_STORAGE_PATIENCE="6", **SLOW)
    sweeper.wait_for(lambda: len(sweeper.lines("trained.log")) > 2)
    journal.rename(away)
    sweeper.wait_for(lambda: any("does not answer" in e for e in sweeper.events("warning")))
    away.rename(journal)
    sweeper.wait_for(lambda: any("answers again" in e for e in sweeper.events("warning")))
    journal.rename(away)
    _, errors = popen.communicate(timeout=300)
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


def test_a_locked_sqlite_file_is_waited_for_while_trials_go_on(commands: Commands) -> None:
    popen = commands.start(5, 1, CURVE_QUICK="1", SWEEPER_STORAGE_PATIENCE="300", **FAST)
    commands.wait_for(lambda: commands.lines("trained.log"))
    lock = sqlite3.connect(commands.run.study, timeout=300)
    lock.execute("BEGIN IMMEDIATE")
    commands.wait_for(lambda: len(commands.lines("trained.log")) == 5)
    commands.wait_for(lambda: "does not answer" in commands.run.events.read_text())
    lock.rollback()
    lock.close()
    _, errors = popen.communicate(timeout=300)
    assert popen.returncode == 0, errors
    assert "answers again" in commands.run.events.read_text()
    check_whole(commands, 5)


def test_an_objective_that_is_maximised_is_so_in_the_storage(url: str) -> None:
    for name, maximize in (("loss", False), ("accuracy", True)):
        StudyMirror(url, name, maximize=maximize).open({})
        study = optuna.load_study(study_name=name, storage=open_storage(url))
        assert (study.direction == optuna.study.StudyDirection.MAXIMIZE) is maximize
