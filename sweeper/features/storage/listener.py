"""Writes the study of a run as Optuna has it: ``study.db``, and a copy in the user's storage.

Dashboards and plain Optuna read ``study.db`` while the run goes on; nothing else does. The user's
storage gets the study once, when the run ends. It is trusted with the study's name alone: a study
of that name is replaced only if this run has written it.
"""

from __future__ import annotations

import uuid
from itertools import count
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from sweeper.artifact import write_text
from sweeper.constraints import limits_of
from sweeper.errors import NotInstalled, RunError, SpecError
from sweeper.execution.state.status import Status
from sweeper.features.storage._study_file import StudyFile
from sweeper.features.storage.options import Options
from sweeper.plans import Plan
from sweeper.redaction import without_password
from sweeper.runfolder import CONFIG, RESULT, RUNGS, RunFolder
from sweeper.search.search import Search
from sweeper.spec import Spec
from sweeper.trials import RungReport, TrialConfig, TrialResult

NAME = "storage"
# An attribute of the copy: a name that no other run's folder has.
RUN = "sweeper:run"
# Packages that are not called as the modules in them.
_PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
# A trial takes some tens of statements, each a round trip to a server.
_END_SECONDS = 120.0


def wanted(spec: Spec) -> dict[str, float]:
    """The writer of the study.

    Raises:
        SpecError: Optuna cannot use the URL.
        NotInstalled: The storage's driver is missing.
    """
    if (url := spec.features.of(Options).url) is not None:
        _check(url)
    return {NAME: _END_SECONDS}


def _check(url: str) -> None:
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


def listen(name: str, run: RunFolder, spec: Spec) -> StudyWriter:
    """The writer of a run's study."""
    return StudyWriter(run, spec)


class StudyWriter:
    """Follows the trials of a run, and writes them as a study."""

    def __init__(self, run: RunFolder, spec: Spec) -> None:
        self._run, self._url = run, spec.features.of(Options).url
        self._search = Search(Plan.read(run.plan), limits=limits_of(spec))
        self._file = StudyFile(run.study, run.path.resolve().name, self._search.study)
        self._begun, self._ended = 0, set[int]()

    def catch_up(self) -> None:
        """Write what has changed since the last call."""
        self._read()
        status = Status.read_or_none(self._run.status)
        running = status.running if status is not None else ()
        self._file.write([one.trial for one in running if not one.job])

    def end(self, state: str) -> None:
        """Write the rest, and copy the study to the user's storage.

        Raises:
            RunError: ``study.db`` cannot be written, or the storage holds another study of this
                name.
        """
        self._read()
        self._file.write()
        self._file.close()
        if self._url is not None:
            copy(self._run, self._url)

    def _read(self) -> None:
        """Read the trials that have not ended."""
        for number in count():
            folder = self._run.trial(number)
            if number in self._ended:
                continue
            config = TrialConfig.read_or_none(folder / CONFIG)
            if config is None:  # not begun, or about to be repaired
                return
            if number == self._begun:
                self._search.restore(config)
                self._begun += 1
            self._search.restart(number, RungReport.read_lines(folder / RUNGS))
            result = TrialResult.read_or_none(folder / RESULT)
            if result is not None:
                self._search.tell(number, result)
                self._ended.add(number)


def copy(run: RunFolder, url: str) -> None:
    """Copy ``study.db`` to another storage.

    Raises:
        RunError: The storage holds another study of this name.
    """
    name = run.path.resolve().name
    source = optuna.load_study(study_name=name, storage=f"sqlite:///{run.study.resolve()}")
    storage, own = RDBStorage(url), _own_name(run)
    _make_room(storage, name, own)
    made = optuna.create_study(study_name=name, storage=storage, directions=source.directions)
    made.set_user_attr(RUN, own)
    made.add_trials(source.get_trials(deepcopy=False))


def _make_room(storage: BaseStorage, name: str, own: str) -> None:
    """Delete this run's earlier copy."""
    for study in storage.get_all_studies():
        if study.study_name == name:
            if study.user_attrs.get(RUN) != own:
                why, fix = "It is not from this run's folder.", "Choose another --name."
                raise RunError(f"the storage holds another study named {name!r}", why, fix)
            storage.delete_study(study._study_id)


def _own_name(run: RunFolder) -> str:
    path: Path = run.listeners / NAME / "run"
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")
