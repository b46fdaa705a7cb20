"""Copies ``study.db`` to the user's storage once, when the run ends.

A study of the same name there is replaced only if this run has written it.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from sweeper.errors import NotInstalled, RunError, SpecError
from sweeper.features.storage.options import Options
from sweeper.runfolder import RunFolder
from sweeper.safe_text import without_password
from sweeper.spec import Spec
from sweeper.textfiles import write_text

NAME = "storage"

RUN = "sweeper:run"
"""The user attribute of a copied study with the random id of the run's folder."""

_PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""From a driver's module to its package, if they differ in name."""

_END_SECONDS = 120.0
"""Time limit of the copy: a trial takes tens of SQL statements, each with a wait for its answer."""


def wanted(spec: Spec) -> dict[str, float]:
    """The listener's name with its time limit in seconds; empty if no storage is named.

    Raises:
        SpecError: Optuna cannot use the URL.
        NotInstalled: The storage's driver is missing.
    """
    if (url := spec.features.of(Options).url) is None:
        return {}
    try:
        parsed = sqlalchemy.make_url(url)
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        what = f"the storage {without_password(url)} needs {error.name}, which is not installed"
        package = _PACKAGES.get(str(error.name), error.name)
        raise NotInstalled(what, fix=f"pip install {package}", where="--storage") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise SpecError(
            f"{without_password(url)} is not the URL of an Optuna storage",
            why=str(error),
            fix="Write sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE.",
            where="--storage",
        ) from error
    return {NAME: _END_SECONDS}


def listen(name: str, run: RunFolder, spec: Spec) -> StudyCopier:
    """The copier of a run's study."""
    url = spec.features.of(Options).url
    assert url is not None, "``wanted`` names no listener without a storage"
    return StudyCopier(run, url)


class StudyCopier:
    """Copies the study of a run once it has ended."""

    def __init__(self, run: RunFolder, url: str) -> None:
        self._run, self._url = run, url

    def catch_up(self) -> None:
        """Do nothing: the study is copied at the end."""

    def end(self, state: str) -> None:
        """Copy the study."""
        copy(self._run, self._url)


def copy(run: RunFolder, url: str) -> None:
    """Copy ``study.db`` to another storage, in place of an earlier copy.

    Raises:
        RunError: The storage holds another study of this name.
    """
    name = run.path.resolve().name
    source = optuna.load_study(study_name=name, storage=f"sqlite:///{run.study.resolve()}")
    storage, folder_id = RDBStorage(url), _folder_id(run)
    _delete_earlier_copy(storage, name, folder_id)
    target = optuna.create_study(study_name=name, storage=storage, directions=source.directions)
    target.set_user_attr(RUN, folder_id)
    target.add_trials(source.get_trials(deepcopy=False))


def _delete_earlier_copy(storage: BaseStorage, name: str, folder_id: str) -> None:
    """Delete the earlier copy of the study, if there is one.

    Raises:
        RunError: The study of this name is not from this run's folder.
    """
    for study in storage.get_all_studies():
        if study.study_name == name:
            if study.user_attrs.get(RUN) != folder_id:
                why, fix = "It is not from this run's folder.", "Choose another --name."
                raise RunError(f"the storage holds another study named {name!r}", why, fix)
            storage.delete_study(study._study_id)


def _folder_id(run: RunFolder) -> str:
    """The random id of the run's folder, made at the first call."""
    path: Path = run.listeners / NAME / "run"
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")
