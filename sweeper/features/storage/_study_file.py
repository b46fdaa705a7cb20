"""Keeps ``study.db``, an Optuna storage in SQLite, in step with a study in memory."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError

# Readers and the writer never wait for each other, but a backup may lock the file. Optuna tries
# five times to create a trial: that is up to five seconds at once.
_LOCKED_SECONDS = 1.0
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class StudyFile:
    """A study in a SQLite file, which is written anew by each process, and where writing fails.

    Args:
        name: The study's name in the file.
        study: The study, in memory.
    """

    def __init__(self, path: Path, name: str, study: Study) -> None:
        self._path, self._name, self._study = path, name, study
        self._storage: RDBStorage | None = None
        self._written: list[FrozenTrial] = []

    def write(self, running: Collection[int | None] = ()) -> None:
        """Bring the file up to the study.

        Args:
            running: Trials that a worker has now; others that have not ended wait for one.

        Raises:
            RunError: It cannot be written now. A damaged file is deleted.
        """
        try:
            self._bring_up(self._storage or self._open(), running)
        except Exception as error:  # a damaged file may raise anything
            self.close()
            cause = _original(error)
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _LOCKED:  # the rest says why
                for end in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        Path(f"{self._path}{end}").unlink()
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise RunError(f"{self._path.name} could not be written ({reason})") from error

    def close(self) -> None:
        """Release the file."""
        if self._storage is not None:
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _open(self) -> RDBStorage:
        """Open the file, with an empty study.

        Raises:
            sqlite3.DatabaseError: It is damaged, or something else lies there.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # It would print the stack of what is one line for the user.
        logging.getLogger("optuna.storages").setLevel(logging.ERROR)
        if self._path.exists() and not self._path.is_file():
            raise sqlite3.DatabaseError("it is not a regular file")
        # Kept in the file: readers never wait for the writer. Set before the tables are made.
        with contextlib.closing(sqlite3.connect(self._path, _LOCKED_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        options = {"connect_args": {"timeout": _LOCKED_SECONDS}}
        storage = RDBStorage(f"sqlite:///{self._path.resolve()}", engine_kwargs=options)
        sqlalchemy.event.listen(storage.engine, "connect", _tune)
        storage.engine.dispose()
        for stored in storage.get_all_studies():
            if stored.study_name == self._name:
                storage.delete_study(stored._study_id)
        self._id = storage.create_new_study(self._study.directions, self._name)
        self._storage, self._written = storage, []
        return storage

    def _bring_up(self, storage: RDBStorage, running: Collection[int | None]) -> None:
        for number, trial in enumerate(self._study.get_trials(deepcopy=False)):
            before = self._written[number] if number < len(self._written) else None
            if before is not None and before.state.is_finished():
                continue
            new = copy.copy(trial)
            if not trial.state.is_finished() and number not in running:
                new.state = TrialState.WAITING
            new.user_attrs = dict(trial.user_attrs)
            new.intermediate_values = dict(trial.intermediate_values)
            if before is None:
                new._trial_id = storage.create_new_trial(self._id, new)
                self._written.append(new)
            else:
                new._trial_id = before._trial_id
                _update(storage, new, before)
                self._written[number] = new


def _update(storage: RDBStorage, trial: FrozenTrial, before: FrozenTrial) -> None:
    """Write what has changed; the end comes last, after which Optuna takes no more."""
    # Optuna takes no report back: one of an attempt that broke off becomes no number.
    lost = before.intermediate_values.keys() - trial.intermediate_values.keys()
    trial.intermediate_values |= dict.fromkeys(lost, math.nan)
    if trial.state.is_finished():
        for name, value in trial.user_attrs.items():
            storage.set_trial_user_attr(before._trial_id, name, value)
        for name, value in trial.system_attrs.items():
            if name.startswith("constraints"):
                storage.set_trial_system_attr(before._trial_id, name, value)
    for rung, loss in trial.intermediate_values.items():
        if before.intermediate_values.get(rung) != loss:
            storage.set_trial_intermediate_value(before._trial_id, rung, loss)
    if trial.state != before.state:
        storage.set_trial_state_values(before._trial_id, trial.state, trial.values)


def _tune(connection: Any, _record: object) -> None:
    # A power cut may lose the last commits, which the run's files bring back.
    connection.execute("PRAGMA synchronous=NORMAL")


def _original(error: BaseException) -> BaseException:
    """The database's own error, without the SQL statement."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error
