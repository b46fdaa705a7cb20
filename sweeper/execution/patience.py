"""A storage that is away for a while: calls are tried again, said in one line, given up in the end.

Knows which errors pass by themselves. Knows nothing of what the calls are for.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from sweeper.errors import RunError
from sweeper.execution.disk import no_room
from sweeper.search.storage import Storage

Result = TypeVar("Result")

# A storage that is restarted or fails over is back within a minute or two; one that has been away
# for five needs a person.
PATIENCE_SECONDS = float(os.environ.get("SWEEPER_STORAGE_PATIENCE", "300"))
# Told to stop, the command has ten seconds to its last line: these are for one more try.
_HURRIED_SECONDS = 2.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0


class StorageGone(RunError):
    """The storage was away for longer than anyone waits."""


_PASSING = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    # What a session says whose connection broke, until it is thrown away.
    sqlalchemy.exc.PendingRollbackError,
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


@dataclass
class Patience:
    """How long one process waits for its storage, and whom it tells.

    Args:
        seconds: How long until it gives up.
        say: Takes one line when the storage went away and one when it came back.
        hurried: Whether the process was told to stop, and cannot wait any more.
        reset: Lets go of what this thread held of the storage, before the next try.
    """

    seconds: float = PATIENCE_SECONDS
    say: Callable[[str], None] = lambda _text: None
    hurried: Callable[[], bool] = lambda: False
    reset: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _away_since: float | None = None
    _spent: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _inside: threading.local = field(default_factory=threading.local)

    def call(self, what: Callable[[], Result]) -> Result:
        """Call until it succeeds; inside another patient call just once, for that one to repeat.

        Raises:
            StorageGone: The storage was away for too long.
        """
        if getattr(self._inside, "yes", False):
            return what()
        began, wait = self.clock(), _FIRST_WAIT
        while True:
            try:
                with self._within():
                    result = what()
            except Exception as error:
                if not passes(error):
                    raise
                with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                    self.reset()
                self._went_away(error)
                if self.clock() - began > self._limit():
                    self._spent = True
                    raise self._given_up(error) from error
            else:
                self._came_back()
                return result
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST_WAIT)

    def _limit(self) -> float:
        if self._spent:  # given up once: nobody waits a second time for the same
            return 0.0
        return min(self.seconds, _HURRIED_SECONDS) if self.hurried() else self.seconds

    @contextlib.contextmanager
    def _within(self) -> Iterator[None]:
        self._inside.yes = True
        try:
            yield
        finally:
            self._inside.yes = False

    def _went_away(self, error: BaseException) -> None:
        with self._lock:
            first, self._away_since = self._away_since is None, self._away_since or self.clock()
        if first:
            self.say(
                f"the storage does not answer ({_first_line(error)}); trying again for up to "
                f"{self.seconds:g} s"
            )

    def _came_back(self) -> None:
        if self._away_since is None:
            return
        self._spent = False
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            self.say(f"the storage answers again, after {self.clock() - since:.1f} s")

    def _given_up(self, error: BaseException) -> StorageGone:
        since = self._away_since or self.clock()
        return StorageGone(
            f"the storage has not answered for {self.clock() - since:.0f} s",
            why=_first_line(error),
            fix="Bring it back, then give the same command again: it resumes.",
        )


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) else None
    original = getattr(cause or error, "orig", None) or cause or error
    return (str(original).strip() or type(original).__name__).splitlines()[0]


class _Patient(Protocol):
    @property
    def patience(self) -> Patience: ...


Method = TypeVar("Method", bound=Callable[..., Any])


def patiently(method: Method) -> Method:
    """A method that is repeated as a whole while the storage is away.

    For what compares and then writes: after a failure in the middle it must compare again.
    """

    @functools.wraps(method)
    def repeated(self: _Patient, *args: Any, **kwargs: Any) -> Any:
        return self.patience.call(lambda: method(self, *args, **kwargs))

    return repeated  # type: ignore[return-value]


def patient(storage: Storage, patience: Patience) -> Storage:
    """The same storage, whose calls wait while it is away."""
    patience.reset = storage.optuna.remove_session
    # Patience says it in one line; Optuna would with a stack.
    logging.getLogger("optuna.storages").setLevel(logging.ERROR)
    return replace(storage, optuna=cast(BaseStorage, PatientStorage(storage.optuna, patience)))


class PatientStorage:
    """Optuna's storage interface over another storage, call by call."""

    def __init__(self, inner: BaseStorage, patience: Patience) -> None:
        self.inner = inner
        self.patience = patience

    def __getattr__(self, name: str) -> Any:
        known = getattr(self.inner, name)
        if not callable(known):
            return known
        return lambda *args, **kwargs: self.patience.call(lambda: known(*args, **kwargs))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, and not a second one where only the answer was lost.

        One process alone adds trials to a study: the command, which holds the run's lock.
        """
        before = self.patience.call(lambda: self.inner.get_n_trials(study_id))

        def create() -> int:
            trials = self.inner.get_all_trials(study_id, deepcopy=False)
            if len(trials) > before:
                return trials[-1]._trial_id
            return self.inner.create_new_trial(study_id, template_trial)

        return self.patience.call(create)
