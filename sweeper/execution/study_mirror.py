"""Keeps an Optuna storage in step with the search, for dashboards, plain Optuna and the next call.

The search lives in memory and the run's files are what counts, so the storage is written behind
both, by a thread of its own: a storage that is slow or away keeps nobody waiting. It is tried
again for up to ``SWEEPER_STORAGE_PATIENCE`` seconds, said in one line, given up in the end.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import queue
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError
from sweeper.execution.disk import no_room

# A storage that is restarted or fails over is back within a minute or two; one that has been away
# for five needs a person.
PATIENCE_SECONDS = float(os.environ.get("SWEEPER_STORAGE_PATIENCE", "300"))
# Told to stop, the command has ten seconds to its last line: these are for one more try.
HURRIED_SECONDS = 2.0
# How far writes are apart while the owner has work: both run under one interpreter lock.
_BUSY_SECONDS = 0.02
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
# Readers of one SQLite file may lock it for a moment; whoever needs longer is tried again.
_SQLITE_TIMEOUT_SECONDS = 5
_GRPC_TIMEOUT_SECONDS = 10

JOURNAL, GRPC = "journal:", "grpc://"
# A study attribute: the identity of the run that the study belongs to.
IDENTITY = "sweeper:identity"

T = TypeVar("T")


class StorageGone(RunError):
    """The storage was away for longer than anyone waits."""


def default_url(database: Path) -> str:
    """The URL of a run's own SQLite file."""
    return f"sqlite:///{database.resolve()}"


def open_storage(url: str) -> BaseStorage:
    """Open a storage by URL.

    Args:
        url: ``sqlite:///PATH`` or any URL that SQLAlchemy knows, ``journal:PATH`` for Optuna's
            journal file, ``grpc://HOST:PORT`` for its gRPC proxy.

    Raises:
        RunError: It cannot be opened, or what it needs is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The mirror says in one line what Optuna would say with a stack.
    logging.getLogger("optuna.storages").setLevel(logging.ERROR)
    try:
        return _opened(url)
    except (ImportError, OSError, ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise RunError(
            f"cannot open the storage {_without_password(url)}",
            why=_first_line(error),
            fix="Give --storage sqlite:///PATH, postgresql+psycopg://... or any other URL that "
            "SQLAlchemy knows (with its driver installed), journal:PATH or grpc://HOST:PORT.",
        ) from error


def _opened(url: str) -> BaseStorage:
    if url.startswith(JOURNAL):
        path = Path(url.removeprefix(JOURNAL)).expanduser().resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    if url.startswith(GRPC):
        host, _, port = url.removeprefix(GRPC).partition(":")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            proxy = GrpcStorageProxy(host=host or "localhost", port=int(port or 13000))
        proxy.wait_server_ready(timeout=_GRPC_TIMEOUT_SECONDS)
        return proxy
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("an SQLite storage needs a file, for others to read")
    return _sqlite(url, Path(parsed.database))


def _sqlite(url: str, path: Path) -> RDBStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Kept in the file: readers never wait for the writer. Set before the tables are made.
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}})
    sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
    storage.engine.dispose()
    return storage


def _tune_sqlite(connection: Any, _record: object) -> None:
    # A power cut may lose the last commits, which the run's files bring back.
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _without_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.SQLAlchemyError:
        return url.split("@")[-1]


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) else None
    original = getattr(cause or error, "orig", None) or cause or error
    return (str(original).strip() or type(original).__name__).splitlines()[0]


_PASSING = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    sqlalchemy.exc.PendingRollbackError,  # of a session whose connection broke
)


def passes(error: BaseException) -> bool:
    """Whether an error of a storage may be gone at the next try."""
    if no_room(error):
        return False
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or passes(error.__cause__)
    if isinstance(error, RunError):  # could not be opened
        return error.__cause__ is not None and passes(error.__cause__)
    from_proxy = type(error).__module__.partition(".")[0] == "grpc"
    return from_proxy or isinstance(error, (*_PASSING, OSError))


def is_damaged(error: BaseException) -> bool:
    """Whether an error says that an SQLite file holds no database any more."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return isinstance(original, sqlite3.DatabaseError) and not isinstance(
        original, sqlite3.OperationalError
    )


@dataclass
class StudyMirror:
    """One study in a storage.

    Args:
        url: The storage; may hold a password, never shown.
        name: Of the study.
        say: Takes one line when the storage went away and one when it came back; called from
            whatever thread meets that.
        hurried: Whether the command was told to stop, and cannot wait any more.
        patience: Seconds until it gives up.
        owner_waits: Set while the command's own thread has nothing to do; writes go on fast then.
    """

    url: str
    name: str
    say: Callable[[str], None] = lambda _text: None
    hurried: Callable[[], bool] = lambda: False
    patience: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    gone: BaseException | None = field(default=None, init=False)
    owner_waits: threading.Event = field(default_factory=threading.Event, init=False)
    _storage: BaseStorage | None = field(default=None, init=False)
    _study: int = field(default=0, init=False)
    _ids: dict[int, int] = field(default_factory=dict, init=False)
    _steps: dict[int, set[int]] = field(default_factory=dict, init=False)
    _left: queue.Queue[Callable[[], None] | None] = field(default_factory=queue.Queue, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _away_since: float | None = field(default=None, init=False)
    _again: bool = field(default=False, init=False)

    def open(self, identity: dict[str, Any]) -> list[FrozenTrial]:
        """Open the storage and the study, and read what an earlier call left there.

        Raises:
            RunError: It cannot be opened, or holds another run's study of this name.
            StorageGone: It was away for too long.
        """
        return self._patiently(lambda: self._open(identity))

    def _open(self, identity: dict[str, Any]) -> list[FrozenTrial]:
        self._storage = storage = open_storage(self.url)
        known = {one.study_name: one for one in storage.get_all_studies()}
        if self.name not in known:
            self._create(identity)
            return []
        self._study = known[self.name]._study_id
        stored = known[self.name].user_attrs.get(IDENTITY)
        if stored is not None and stored != identity:
            raise RunError(
                f"the storage holds another study named {self.name!r}",
                why="Its model, data or space differ from this run's.",
                fix="Choose another --name or another --storage.",
            )
        trials = storage.get_all_trials(self._study, deepcopy=False)
        self._ids = {one.number: one._trial_id for one in trials}
        self._steps = {one.number: set(one.intermediate_values) for one in trials}
        return trials

    def _create(self, identity: dict[str, Any]) -> None:
        assert self._storage is not None
        # Validation loss: lower is better.
        self._study = self._storage.create_new_study([StudyDirection.MINIMIZE], self.name)
        self._storage.set_study_user_attr(self._study, IDENTITY, identity)
        self._ids, self._steps = {}, {}

    def start(
        self, trials: Sequence[FrozenTrial], stored: Sequence[FrozenTrial], identity: dict[str, Any]
    ) -> None:
        """Bring the study to these trials and begin to write what comes.

        Args:
            trials: As the search has them.
            stored: What ``open`` read.
            identity: Of the run.
        """
        same = [_same(mine, theirs) for mine, theirs in zip(trials, stored, strict=False)]
        if len(stored) > len(trials) or not all(same):
            self.say("the storage did not hold what the run's files say, and is written anew")
            self._put(lambda: self._rewrite(identity))
            stored = ()
        for trial in trials[len(stored) :]:
            shown = _snapshot(trial)
            self._put(functools.partial(self._create_trial, shown))
        for mine, theirs in zip(trials, stored, strict=False):
            if mine.state.is_finished() and not theirs.state.is_finished():
                for step, value in mine.intermediate_values.items():
                    self.rung(mine.number, step, value)
                self.end(mine)
        self._thread = threading.Thread(target=self._write, daemon=True, name="study-mirror")
        self._thread.start()

    def _rewrite(self, identity: dict[str, Any]) -> None:
        assert self._storage is not None
        with contextlib.suppress(KeyError):
            self._storage.delete_study(self._study)
        self._create(identity)

    def begin(self, trial: FrozenTrial) -> None:
        """A trial begins, perhaps again."""
        shown = _snapshot(trial)

        def write() -> None:
            self._create_trial(shown)
            self._move(shown.number, TrialState.RUNNING)

        self._put(write)

    def wait(self, number: int) -> None:
        """A trial that was cut off waits to be begun again."""
        self._put(lambda: self._move(number, TrialState.WAITING))

    def _move(self, number: int, state: TrialState) -> None:
        assert self._storage is not None
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(self._ids[number], state)

    def rung(self, number: int, rung: int, loss: float) -> None:
        """A trial reported."""

        def write() -> None:
            assert self._storage is not None
            with contextlib.suppress(UpdateFinishedTrialError):
                self._storage.set_trial_intermediate_value(self._ids[number], rung, loss)
            self._steps.setdefault(number, set()).add(rung)

        self._put(write)

    def end(self, trial: FrozenTrial, shown_too: Mapping[str, Any] = {}) -> None:
        """A trial ended, as the search has it.

        Args:
            trial: Of the search.
            shown_too: Further attributes, for people to see.
        """
        shown = _snapshot(trial)
        shown.user_attrs |= shown_too
        self._put(lambda: self._end(shown))

    def _put(self, write: Callable[[], None]) -> None:
        self._left.put(write)

    def _create_trial(self, trial: FrozenTrial) -> None:
        assert self._storage is not None
        if trial.number in self._ids:
            return
        known = self._unheard(trial.number) if self._again else None
        made = known or self._storage.create_new_trial(self._study, trial)
        self._ids[trial.number] = made
        self._steps[trial.number] = set(trial.intermediate_values)

    def _unheard(self, number: int) -> int | None:
        """The trial of that number, where it was made and the answer was lost on the way."""
        assert self._storage is not None
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        return trials[number]._trial_id if len(trials) > number else None

    def _end(self, trial: FrozenTrial) -> None:
        assert self._storage is not None
        storage, trial_id = self._storage, self._ids[trial.number]
        with contextlib.suppress(UpdateFinishedTrialError):
            # Optuna takes no report back: one of an attempt that broke off becomes "not a number".
            for step in self._steps.get(trial.number, set()) - set(trial.intermediate_values):
                storage.set_trial_intermediate_value(trial_id, step, float("nan"))
            for name, value in trial.user_attrs.items():
                storage.set_trial_user_attr(trial_id, name, value)
            for name, value in trial.system_attrs.items():
                if name.startswith("constraints"):
                    storage.set_trial_system_attr(trial_id, name, value)
            storage.set_trial_state_values(trial_id, trial.state, trial.values)

    def _write(self) -> None:
        while (write := self._left.get()) is not None:
            self.owner_waits.wait(_BUSY_SECONDS)
            if self.gone is None:
                try:
                    self._patiently(write)
                except BaseException as error:  # noqa: BLE001 - the command's thread raises it
                    self.gone = error
            self._left.task_done()

    def check(self) -> None:
        """Raise what keeps the storage from being written.

        Raises:
            StorageGone: It was away for too long.
        """
        if self.gone is not None:
            raise self.gone

    def close(self) -> None:
        """Write what is left, and stop."""
        if self._thread is not None:
            self.owner_waits.set()
            self._left.put(None)
            self._thread.join()
            self._thread = None
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    def _patiently(self, what: Callable[[], T]) -> T:
        began, wait, self._again = self.clock(), _FIRST_WAIT, False
        while True:
            try:
                result = what()
            except Exception as error:
                if not passes(error):
                    raise
                self._again = True
                if self._storage is not None:
                    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                        self._storage.remove_session()
                self._went_away(error)
                limit = min(self.patience, HURRIED_SECONDS) if self.hurried() else self.patience
                if self.clock() - began > limit:
                    raise self._given_up(error) from error
            else:
                self._came_back()
                return result
            time.sleep(wait)
            wait = min(2 * wait, HURRIED_SECONDS / 4 if self.hurried() else _LONGEST_WAIT)

    def _went_away(self, error: BaseException) -> None:
        if self._away_since is None:
            self._away_since = self.clock()
            self.say(
                f"the storage does not answer ({_first_line(error)}); trying again for up to "
                f"{self.patience:g} s"
            )

    def _came_back(self) -> None:
        if self._away_since is not None:
            since, self._away_since = self._away_since, None
            self.say(f"the storage answers again, after {self.clock() - since:.1f} s")

    def _given_up(self, error: BaseException) -> StorageGone:
        since = self._away_since or self.clock()
        return StorageGone(
            f"the storage has not answered for {self.clock() - since:.0f} s",
            why=_first_line(error),
            fix="Bring it back, then give the same command again: it resumes.",
        )


def _same(mine: FrozenTrial, theirs: FrozenTrial) -> bool:
    """Whether two trials can be one: alike where both have ended, as far as the storage knows."""
    if mine.params != theirs.params:
        return False
    if not theirs.state.is_finished():
        return True
    return mine.state == theirs.state and mine.values == theirs.values


# Where validation items' losses lie: large, and of use to the search alone, which has them.
_ITEMS = "sweeper:items"


def _snapshot(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it is now; the search goes on to change its own."""
    shown = copy.copy(trial)
    shown.user_attrs = {k: v for k, v in trial.user_attrs.items() if not k.startswith(_ITEMS)}
    shown.intermediate_values = dict(trial.intermediate_values)
    return shown
