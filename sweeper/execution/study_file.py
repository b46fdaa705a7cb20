"""Keeps ``study.db``, the run's study as an Optuna storage in SQLite, in step with the search.

Dashboards and plain Optuna read it while the run goes on. The search lives in memory, and the run's
files are what counts: nothing is read from here. Each call of the command writes the study anew, a
file that fails is set aside, and a locked one is written later.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.disk import NoRoom, no_room

# Readers and the writer never wait for each other, but a backup may lock the file. Optuna tries
# five times to create a trial: that is up to five seconds at once.
_LOCKED_SECONDS = 1.0
_PAUSE_SECONDS = 15.0
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# A new trial takes 20 ms and a rung 4 ms, but a file that is written anew some 7 s for 500 trials:
# that is done in parts, so that no worker waits for its verdict.
_PART_SECONDS = 0.5
# Where validation items' losses lie: large, and of use to the search alone, which has them.
_ITEMS = "sweeper:items"


class StudyFile:
    """A study in a SQLite file, written by the thread that owns the search.

    Args:
        name: The study's name in the file.
        study: The search's own study, in memory.
        warn: Takes a line for the user.
    """

    def __init__(self, path: Path, name: str, study: Study, warn: Callable[[str], None]) -> None:
        self._path, self._name, self._study, self._warn = path, name, study, warn
        self._connected: _Connected | None = None
        self._begun = self._replaced = self._locked = self._given_up = False
        self._pause_end = -math.inf

    def write(self, running: Collection[int] = (), seconds: float = _PART_SECONDS) -> None:
        """Bring the file up to the study, unless it is locked: then a later call does.

        Args:
            running: Trials that a worker has now; others that have not ended wait for one.
            seconds: After so many, the rest is left to a later call.

        Raises:
            NoRoom: The disk is full.
        """
        self._begun = True
        while not self._given_up and time.monotonic() >= self._pause_end:
            try:
                if self._connected is None:
                    self._connected = _Connected(self._path, self._name, self._study)
                self._connected.bring_up(running, seconds)
            except Exception as error:  # a damaged file may raise anything
                self._disconnect()
                if no_room(error):
                    raise NoRoom(_first_line(error)) from error
                self._recover(error)
            else:
                self._locked = False
                return

    def close(self) -> None:
        """Write the rest, and close the file: no worker has a trial any more.

        Raises:
            NoRoom: The disk is full.
        """
        if not self._begun:
            return
        self._pause_end = -math.inf
        try:
            self.write(seconds=math.inf)
        finally:
            self._begun = False
            self._disconnect()
        if self._locked:
            self._warn(f"{self._path.name} is still locked, and lacks the end of the run")

    def _recover(self, error: Exception) -> None:
        name, reason = self._path.name, _first_line(error)
        if _is_locked(error):
            if not self._locked:
                self._warn(f"{name} is locked by another program, and is written later")
            self._locked, self._pause_end = True, time.monotonic() + _PAUSE_SECONDS
        elif self._replaced:
            self._given_up = True
            self._warn(f"{name} cannot be written ({reason}); the run goes on without it")
        else:
            self._replaced, aside = True, f"{name}.damaged"
            for end in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self._path}{end}").replace(self._path.with_name(f"{aside}{end}"))
            self._warn(
                f"{name} was damaged ({reason}) and is written anew from the run's files; what was "
                f"left of it is {aside}"
            )

    def _disconnect(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None


class _Connected:
    """An open file, and what it holds of the study."""

    def __init__(self, path: Path, name: str, study: Study) -> None:
        self._study, self._storage = study, _opened(path)
        for stored in self._storage.get_all_studies():
            if stored.study_name == name:
                self._storage.delete_study(stored._study_id)
        self._id = self._storage.create_new_study(study.directions, name)
        self._written: list[FrozenTrial] = []

    def bring_up(self, running: Collection[int], seconds: float) -> None:
        end = time.monotonic() + seconds
        for number, trial in enumerate(self._study.get_trials(deepcopy=False)):
            before = self._written[number] if number < len(self._written) else None
            if before is not None and before.state.is_finished():
                continue
            new = copy.copy(trial)
            if not trial.state.is_finished() and number not in running:
                new.state = TrialState.WAITING
            kept = {k: v for k, v in trial.user_attrs.items() if not k.startswith(_ITEMS)}
            new.user_attrs, new.intermediate_values = kept, dict(trial.intermediate_values)
            if before is None:
                new._trial_id = self._storage.create_new_trial(self._id, new)
                self._written.append(new)
            else:
                new._trial_id = before._trial_id
                self._update(new, before)
                self._written[number] = new
            if time.monotonic() > end:
                return

    def _update(self, trial: FrozenTrial, before: FrozenTrial) -> None:
        """Write what has changed; the end comes last, after which Optuna takes no more."""
        storage, trial_id, rungs = self._storage, before._trial_id, trial.intermediate_values
        if trial.state.is_finished():
            # Optuna takes no report back: one of an attempt that broke off becomes no number.
            rungs = dict.fromkeys(before.intermediate_values, math.nan) | rungs
            for name, value in trial.user_attrs.items():
                storage.set_trial_user_attr(trial_id, name, value)
            for name, value in trial.system_attrs.items():
                if name.startswith("constraints"):
                    storage.set_trial_system_attr(trial_id, name, value)
        for rung, loss in rungs.items():
            if before.intermediate_values.get(rung) != loss:
                storage.set_trial_intermediate_value(trial_id, rung, loss)
        if trial.state != before.state:
            storage.set_trial_state_values(trial_id, trial.state, trial.values)
        trial.intermediate_values = before.intermediate_values | rungs

    def close(self) -> None:
        with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
            self._storage.remove_session()
        self._storage.engine.dispose()


def _opened(path: Path) -> RDBStorage:
    """Open the file.

    Raises:
        sqlite3.DatabaseError: It is damaged, or something else lies there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # It would print the stack of what is one line for the user.
    logging.getLogger("optuna.storages").setLevel(logging.ERROR)
    if path.exists() and not path.is_file():
        raise sqlite3.DatabaseError("it is not a regular file")
    # Kept in the file: readers never wait for the writer. Set before the tables are made.
    with contextlib.closing(sqlite3.connect(path, _LOCKED_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    url, options = f"sqlite:///{path.resolve()}", {"connect_args": {"timeout": _LOCKED_SECONDS}}
    storage = RDBStorage(url, engine_kwargs=options)
    sqlalchemy.event.listen(storage.engine, "connect", _tune)
    storage.engine.dispose()
    return storage


def _tune(connection: Any, _record: object) -> None:
    # A power cut may lose the last commits, which the run's files bring back.
    connection.execute("PRAGMA synchronous=NORMAL")


def _is_locked(error: BaseException) -> bool:
    original = _original(error)
    code = getattr(original, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _LOCKED  # the rest of it says why


def _first_line(error: BaseException) -> str:
    """The first line of an error, without its SQL statement."""
    original = _original(error)
    return (str(original).strip() or type(original).__name__).splitlines()[0]


def _original(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error
