"""Sections that one process at a time is in, made of what each kind of storage offers.

Optuna compares and sets one thing at a time (a trial's state), and on SQLite not even that.
Claiming, renewing and ending a trial compare its lease and then write, so the whole of it must be
alone. Knows nothing about leases.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import GrpcStorageProxy, RDBStorage
from optuna.study import StudyDirection

# Sections take milliseconds. Whoever is in one for this long was stopped or lost its network, and
# its section is undone (SQL) or broken open (proxy), so that nobody waits for it for ever.
SECTION_SECONDS = 20.0

# A proxy has one thing that only one caller can do: make a study of a name. Such studies live for
# the milliseconds of a section.
LOCK_PREFIX = "sweeper:lock/"
_LOCK_POLL_SECONDS = 0.01


class Exclusive(Protocol):
    """Opens a section about one trial, or about the whole storage."""

    def __call__(
        self, trial_id: int | None = None, *, wait: bool = True
    ) -> AbstractContextManager[bool]:
        """Enter.

        Args:
            trial_id: What the section is about; None for the whole storage, where SQL servers and
                proxies need no section: what is done there is atomic by itself.
            wait: False lets storages that can say at once that somebody else is in.

        Returns:
            A context that gives whether the caller is alone.
        """
        ...


def file_section(path: Path) -> Exclusive:
    """One section for a storage that is a file: a lock file beside it, gone with its holder."""
    lock = path.with_name(path.name + ".claim")

    @contextlib.contextmanager
    def exclusive(trial_id: int | None = None, *, wait: bool = True) -> Iterator[bool]:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield True
        finally:
            os.close(handle)

    return exclusive


def row_section(storage: RDBStorage) -> Exclusive:
    """A section is one transaction that holds the trial's row.

    All that Optuna does in it joins the transaction, so that a caller who dies or is cut off in
    the middle has done none of it, and one who wakes up too late can no longer write.
    """

    @contextlib.contextmanager
    def exclusive(trial_id: int | None = None, *, wait: bool = True) -> Iterator[bool]:
        if trial_id is None:
            yield True
            return
        sessions = storage.scoped_session
        sessions.remove()  # this thread's own; it holds nothing between two calls
        try:
            with storage.engine.begin() as connection:
                sessions(bind=connection, join_transaction_mode="create_savepoint")
                yield connection.execute(_hold(trial_id, wait)).first() is not None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _named(error) from _cause(error)
        except StorageInternalError as error:
            raise _named(error) from _cause(error.__cause__)
        finally:
            sessions.remove()

    return exclusive


def _named(error: Exception) -> StorageInternalError:
    return StorageInternalError(str(error).splitlines()[0])


def _cause(error: BaseException | None) -> BaseException | None:
    # A section that took too long was ended by the server: that is over at the next try, which an
    # error without a cause says.
    return None if isinstance(error, sqlalchemy.exc.InternalError) else error


def _hold(trial_id: int, wait: bool) -> sqlalchemy.Select[int]:
    column: sqlalchemy.ColumnClause[int] = sqlalchemy.column("trial_id")
    row = sqlalchemy.select(column).select_from(sqlalchemy.table("trials", column))
    return row.where(column == trial_id).with_for_update(skip_locked=not wait)


def proxy_section(proxy: GrpcStorageProxy, patience: float = SECTION_SECONDS) -> Exclusive:
    """A section is a study that exists while somebody is in; names of studies are unique."""
    seen: dict[str, _Seen] = {}

    @contextlib.contextmanager
    def exclusive(trial_id: int | None = None, *, wait: bool = True) -> Iterator[bool]:
        if trial_id is None:
            yield True
            return
        name = f"{LOCK_PREFIX}{trial_id}"
        lock = _make(proxy, name)
        while lock is None and (_break_if_left(proxy, name, seen, patience) or wait):
            lock = _make(proxy, name)
            if lock is None:
                time.sleep(_LOCK_POLL_SECONDS)
        if lock is not None:
            seen.pop(name, None)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                _unmake(proxy, lock)

    return exclusive


class _Seen(NamedTuple):
    """A section that somebody else was in: which, since when, and when that was looked at last."""

    lock: int
    since: float
    looked: float


def _make(proxy: GrpcStorageProxy, name: str) -> int | None:
    try:
        return proxy.create_new_study([StudyDirection.MINIMIZE], name)
    except DuplicatedStudyError:
        return None


def _unmake(proxy: GrpcStorageProxy, lock: int) -> None:
    with contextlib.suppress(KeyError):  # somebody took this caller for dead
        proxy.delete_study(lock)


def _break_if_left(
    proxy: GrpcStorageProxy, name: str, seen: dict[str, _Seen], patience: float
) -> bool:
    try:
        lock = proxy.get_study_id_from_name(name)
    except KeyError:
        return True
    now, before = time.monotonic(), seen.get(name)
    # SQLite gives the number of a study that is gone to the next one: two looks that lie far
    # apart may have seen two sections.
    if before is None or before.lock != lock or now - before.looked > patience / 2:
        seen[name] = _Seen(lock, now, now)
    elif now - before.since > patience:
        del seen[name]
        _unmake(proxy, lock)
        return True
    else:
        seen[name] = before._replace(looked=now)
    return False
