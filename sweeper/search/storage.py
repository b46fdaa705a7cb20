"""Opens the storage of a study: SQLite, an Optuna journal file, any SQL server, a gRPC proxy.

Knows what each storage needs to be safe under several processes; nothing about trials.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sweeper.errors import RunError

# Writers of one SQLite file wait for each other: 60 s outlasts any queue of workers whose
# transactions take milliseconds, and still ends when a process hangs while it holds the lock.
SQLITE_TIMEOUT_SECONDS = 60
# A proxy that is there answers at once; this leaves time for one that is just starting.
GRPC_TIMEOUT_SECONDS = 10

JOURNAL_PREFIX = "journal:"
GRPC_PREFIX = "grpc://"


@dataclass(frozen=True)
class Storage:
    """An open storage.

    Args:
        url: As it was given; may hold a password, never print it.
        optuna: Optuna's own object.
        exclusive: A section that only one process at a time is in, where the storage itself
            cannot compare and set (SQLite); elsewhere it does nothing.
    """

    url: str
    optuna: BaseStorage
    exclusive: Callable[[], AbstractContextManager[None]]


def default_url(database: Path) -> str:
    """The URL of a run's own SQLite file."""
    return f"sqlite:///{database.resolve()}"


def open_storage(url: str) -> Storage:
    """Open a storage by URL.

    Args:
        url: ``sqlite:///PATH``, ``journal:PATH``, ``grpc://HOST:PORT`` or any URL that
            SQLAlchemy knows.

    Raises:
        RunError: It cannot be reached, or what it needs is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if url.startswith(JOURNAL_PREFIX):
            return _journal(url)
        if url.startswith(GRPC_PREFIX):
            return _grpc(url)
        return _relational(url)
    except (ImportError, OSError, ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise RunError(
            f"cannot open the storage {_without_password(url)}",
            why=str(error).splitlines()[0],
            fix="Give --storage sqlite:///PATH, journal:PATH, postgresql://... (with its driver "
            "installed) or grpc://HOST:PORT.",
        ) from error


def _without_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.SQLAlchemyError:
        return url.split("@")[-1]


def _journal(url: str) -> Storage:
    path = Path(url.removeprefix(JOURNAL_PREFIX)).expanduser().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(path), lock_obj=_JournalLock(path))
    return Storage(url, JournalStorage(backend), _lock_of(path))


class _JournalLock(JournalFileOpenLock):
    """Optuna's lock for its journal, held by the process and not by a file.

    Optuna's own locks outlive a killed process by their grace period of 30 s. This one is gone
    with its owner, and it cuts off the half line that a killed or full-disk write leaves, which
    would otherwise make the journal unreadable for good.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._path = journal.with_name(journal.name + ".flock")
        self._handles: list[int] = []

    def acquire(self) -> bool:
        """Wait for the lock."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handles.append(handle)
        _cut_half_line(self._journal)
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._handles.pop())


def _cut_half_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            file.seek(position - 1)
            if file.read(1) == b"\n":
                break
            position -= 1
        if position < end:
            file.truncate(position)


def _grpc(url: str) -> Storage:
    host, _, port = url.removeprefix(GRPC_PREFIX).partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=host or "localhost", port=int(port or 13000))
    proxy.wait_server_ready(timeout=GRPC_TIMEOUT_SECONDS)
    return Storage(url, proxy, contextlib.nullcontext)


def _relational(url: str) -> Storage:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        return Storage(url, get_storage(storage), contextlib.nullcontext)
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("an SQLite storage needs a file: workers are processes of their own")
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    exclusive = _lock_of(path)
    with exclusive():  # two processes that create the tables at once would both fail
        # The mode is kept in the file; set before the tables are made, which
        # then need fewer flushes.
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        storage = RDBStorage(
            url, engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}}
        )
        sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
        storage.engine.dispose()
    return Storage(url, get_storage(storage), exclusive)


def _tune_sqlite(connection: object, _record: object) -> None:
    # With write-ahead logging readers never wait for a writer, and a commit needs no flush of its
    # own. A killed process loses nothing; a power cut may lose the last commits, which are then
    # repaired from the trials' own files.
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _lock_of(path: Path) -> Callable[[], AbstractContextManager[None]]:
    lock = path.with_name(path.name + ".claim")

    @contextlib.contextmanager
    def exclusive() -> Iterator[None]:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    return exclusive
