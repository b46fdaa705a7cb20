"""A copy of the study in the user's storage: once, at the end, and over no other study."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
from commands import Sweeper, check_whole, ended_after
from optuna.trial import TrialState

from sweeper.errors import NotInstalled, RunError, SpecError
from sweeper.features.storage.listener import copy, wanted
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

pytestmark = pytest.mark.usefixtures("preloaded")


def given(url: str | None) -> Spec:
    request = {"task": "code", "models": [{"id": "7B"}], "data": {"examples": 100}}
    return Spec.model_validate({**request, "features": {"storage": {"url": url}}})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shared.db"


def make_run(folder: Path, losses: list[float]) -> RunFolder:
    """A run with a study of completed trials, a failed one, and one that waits."""
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.study.unlink(missing_ok=True)
    study = optuna.create_study(study_name=folder.name, storage=f"sqlite:///{run.study}")
    for loss in losses:
        trial = study.ask()
        trial.suggest_float("lora.learning_rate", 1e-5, 1e-3, log=True)
        trial.report(loss + 1, 1)
        trial.set_user_attr("sweeper:origin", "search")
        study.tell(trial, loss)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"lora.learning_rate": 1e-4})
    return run


def rows(study: optuna.Study) -> list[tuple[object, ...]]:
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.user_attrs, t.system_attrs)
        for t in study.trials
    ]


def test_the_copy_is_the_study(tmp_path: Path, url: str) -> None:
    run = make_run(tmp_path / "runs" / "a", [0.5, 0.25])
    copy(run, url)
    copied = optuna.load_study(study_name="a", storage=url)
    assert rows(copied) == rows(optuna.load_study(study_name="a", storage=f"sqlite:///{run.study}"))
    assert len(copied.trials) == 4
    assert copied.best_value == 0.25


def test_a_later_call_replaces_its_own_copy_and_leaves_others(tmp_path: Path, url: str) -> None:
    run = make_run(tmp_path / "runs" / "a", [0.5])
    copy(run, url)
    copy(make_run(tmp_path / "runs" / "b", [0.75]), url)
    copy(make_run(tmp_path / "runs" / "a", [0.5, 0.25]), url)
    assert [trial.value for trial in optuna.load_study(study_name="a", storage=url).trials[:2]] == [
        0.5,
        0.25,
    ]
    assert sorted(optuna.get_all_study_names(url)) == ["a", "b"]


def test_another_study_of_that_name_is_left_alone(tmp_path: Path, url: str) -> None:
    copy(make_run(tmp_path / "here" / "a", [0.5]), url)
    with pytest.raises(RunError, match="'a'"):
        copy(make_run(tmp_path / "there" / "a", [0.25]), url)
    assert optuna.load_study(study_name="a", storage=url).best_value == 0.5
    own = make_run(tmp_path / "runs" / "c", [0.5])
    with pytest.raises(RunError):
        copy(own, f"sqlite:///{own.study}")
    assert len(optuna.load_study(study_name="c", storage=f"sqlite:///{own.study}").trials) == 3


def test_without_a_url_no_process_is_started() -> None:
    assert wanted(given(None)) == {}


@pytest.mark.parametrize("url", ["nonsense", "journal:study.log", "oracel://ann:p4ss@h/d"])
def test_a_url_that_optuna_does_not_know_is_refused_at_once(url: str) -> None:
    with pytest.raises(SpecError) as refused:
        wanted(given(url))
    (problem,) = refused.value.problems
    assert problem.where == "--storage"
    assert "p4ss" not in str(problem)


@pytest.mark.parametrize(
    ("module", "url", "package"),
    [
        ("psycopg", "postgresql+psycopg://ann:p4ss@h/d", "psycopg"),
        ("psycopg2", "postgresql+psycopg2://h/d", "psycopg2-binary"),
        ("MySQLdb", "mysql://h/d", "mysqlclient"),
    ],
)
def test_a_driver_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalled) as refused:
        wanted(given(url))
    (problem,) = refused.value.problems
    assert (problem.fix, problem.where) == (f"pip install {package}", "--storage")
    assert "p4ss" not in str(problem)


def test_a_run_ends_well_whatever_becomes_of_its_copy(tmp_path: Path) -> None:
    """The one test of the whole way, from the flag to the storage."""
    url = f"sqlite:///{tmp_path}/shared.db"

    class Stored(Sweeper):
        def command(self, trials: int, workers: int, seed: int) -> list[str]:
            return [*super().command(trials, workers, seed), "--storage", url]

    made = Stored(tmp_path / "runs" / "run")
    with ended_after(made):
        optuna.create_study(study_name="run", storage=url)  # of somebody else
        code, _, errors = made.ended(2)
        assert code == 0
        assert "storage does not have all of this run: RunError: the storage holds" in errors
        assert optuna.load_study(study_name="run", storage=url).trials == []
        check_whole(made, 2)
        optuna.delete_study(study_name="run", storage=url)
        made.finish(3)
        check_whole(made, 3)
    copied = optuna.load_study(study_name="run", storage=url)
    assert [trial.value for trial in copied.trials] == [trial.value for trial in made.trials()]
