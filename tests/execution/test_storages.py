from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError

from sweeper.errors import RunError
from sweeper.execution import storages
from sweeper.execution.storages import default_url, open_storage, passes


@pytest.mark.parametrize("template", ["sqlite:///{}/sub/s.db", "journal:{}/sub/s.log"])
def test_what_one_process_writes_another_reads(template: str, tmp_path: Path) -> None:
    url = template.format(tmp_path)
    study = optuna.create_study(study_name="s", storage=open_storage(url))
    study.enqueue_trial({"x": 1})
    assert len(optuna.load_study(study_name="s", storage=open_storage(url)).trials) == 1


def test_a_runs_own_file_opens_in_plain_optuna(tmp_path: Path) -> None:
    url = default_url(tmp_path / "study.db")
    optuna.create_study(study_name="s", storage=open_storage(url)).enqueue_trial({"x": 1})
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 1


def test_a_half_written_line_in_a_journal_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/s.log"
    study = optuna.create_study(study_name="s", storage=open_storage(url))
    study.enqueue_trial({"x": 1})
    with (tmp_path / "s.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    study.enqueue_trial({"x": 2})
    assert len(optuna.load_study(study_name="s", storage=open_storage(url)).trials) == 2


def test_a_journal_that_is_away_is_not_begun_anew(tmp_path: Path) -> None:
    storage = open_storage(f"journal:{tmp_path}/s.log")
    study = optuna.create_study(study_name="s", storage=storage)
    (tmp_path / "s.log").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        study.enqueue_trial({"x": 1})
    assert not (tmp_path / "s.log").exists()
    (tmp_path / "away").rename(tmp_path / "s.log")
    study.enqueue_trial({"x": 1})
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("stale file handle"), True),
        (PermissionError("not yours"), False),
        (sqlite3.OperationalError("database is locked"), True),
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


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql+nosuchdriver://ann:secret@h/d", "cannot open the storage postgresql"),
        ("sqlite://", "needs a file"),
        ("nonsense", "cannot open the storage nonsense"),
        ("grpc://localhost:1", "cannot open the storage grpc://localhost:1"),
        ("journal:/proc/nowhere/s.log", "cannot open the storage"),
        ("mysql+oursql://ann:secret@h/d", "cannot open the storage mysql"),
    ],
)
def test_a_storage_that_cannot_be_opened_says_what_to_give_and_no_password(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "_GRPC_TIMEOUT_SECONDS", 1)
    with pytest.raises(RunError, match=text.replace("+", r"\+")) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "url", "package"),
    [
        ("psycopg", "postgresql+psycopg://h/d", "psycopg"),
        ("psycopg2", "postgresql+psycopg2://h/d", "psycopg2-binary"),
        ("MySQLdb", "mysql://h/d", "mysqlclient"),
    ],
)
def test_a_driver_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match=rf"pip install {package}\."):
        open_storage(url)
