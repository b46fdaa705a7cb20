"""Opens an Optuna storage by its URL, and classifies its errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import sqlite3
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from sweeper.errors import RunError
from sweeper.execution.disk import no_room

# Readers of one SQLite file may lock it for a moment; whoever needs longer is tried again.
_SQLITE_TIMEOUT_SECONDS = 5
_GRPC_TIMEOUT_SECONDS = 10

JOURNAL, GRPC = "journal:", "grpc://"
# Packages that are not called as the modules in them.
_PACKAGES = {"grpc": "grpcio protobuf", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


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
    except ImportError as error:
        missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        name = missing.name or "its driver"
        fix = f"Install what the URL needs: pip install {_PACKAGES.get(name, name)}."
        raise _not_opened(url, missing, fix) from error
    except (
        OSError,
        ValueError,
        RuntimeError,
        sqlite3.Error,
        sqlalchemy.exc.SQLAlchemyError,
    ) as error:
        fix = (
            "Give --storage sqlite:///PATH, postgresql+psycopg://... or any other URL that "
            "SQLAlchemy knows, journal:PATH or grpc://HOST:PORT."
        )
        raise _not_opened(url, error, fix) from error


def _not_opened(url: str, error: BaseException, fix: str) -> RunError:
    what = f"cannot open the storage {without_password(url)}"
    return RunError(what, why=first_line(error), fix=fix, where="--storage")


def _opened(url: str) -> BaseStorage:
    if url.startswith(JOURNAL):
        path = Path(url.removeprefix(JOURNAL)).expanduser().resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(str(path)))
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


class _Journal(JournalFileBackend):
    """Optuna's journal, not created again while it is away, and locked by its writer.

    Optuna's own locks outlive a killed process by their grace period of 30 s.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations; not synced, since the run's files bring back what a power cut takes.

        Raises:
            OSError: The journal is away.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with open(self._file_path, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _go_behind_last_line(file)
            file.write(lines.encode())


def _go_behind_last_line(file: BinaryIO) -> None:
    """Cut off the half line that a killed write or a full disk leaves, and Optuna cannot read."""
    end = position = file.seek(0, os.SEEK_END)
    while position > 0:
        file.seek(position - 1)
        if file.read(1) == b"\n":
            break
        position -= 1
    if position < end:
        file.truncate(position)
    file.seek(position)


def _sqlite(url: str, path: Path) -> RDBStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite calls these and a locked file by one name, and only a locked file is worth waiting for.
    if path.exists() and not path.is_file():
        raise sqlite3.DatabaseError("it is not a regular file")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    # Kept in the file: readers never wait for the writer. Set before the tables are made.
    with contextlib.closing(sqlite3.connect(path, _SQLITE_TIMEOUT_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        # Pages in the middle may be lost: that would else be seen when they are next needed.
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(*found)
        if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise sqlite3.DatabaseError("rows that others refer to are missing")
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}})
    sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
    storage.engine.dispose()
    return storage


def _tune_sqlite(connection: Any, _record: object) -> None:
    # A power cut may lose the last commits, which the run's files bring back.
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def without_password(url: str) -> str:
    """A URL without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.SQLAlchemyError:
        return url.split("@")[-1]


def first_line(error: BaseException) -> str:
    """The first line of an error, without its SQL statement."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else None
    original = getattr(cause or error, "orig", None) or cause or error
    return (str(original).strip() or type(original).__name__).splitlines()[0]


_PASSING = (
    sqlite3.OperationalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    sqlalchemy.exc.PendingRollbackError,  # of a session whose connection broke
)


def passes(error: BaseException) -> bool:
    """Whether an error of a storage may be temporary."""
    if no_room(error) or is_damaged(error) or isinstance(error, PermissionError):
        return False
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or passes(error.__cause__)
    if isinstance(error, RunError):  # could not be opened
        return error.__cause__ is not None and passes(error.__cause__)
    from_proxy = type(error).__module__.partition(".")[0] == "grpc"
    return from_proxy or isinstance(error, (*_PASSING, OSError))


def is_damaged(error: BaseException) -> bool:
    """Whether an error means that a storage is damaged.

    That is a damaged SQLite or journal file, foreign tables, or those of another Optuna.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.DatabaseError):
        wrong_tables = getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        return wrong_tables or not isinstance(original, sqlite3.OperationalError)
    # Optuna raises a bare RuntimeError where the tables are those of another version.
    return isinstance(original, json.JSONDecodeError) or type(original) is RuntimeError
