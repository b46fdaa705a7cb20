"""Opens the storage of a study: SQLite, an Optuna journal file, any SQL server, a gRPC proxy.

Knows what each storage needs to be safe under several processes; nothing about trials.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import sqlite3
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sweeper.errors import RunError
from sweeper.search.exclusion import (
    SECTION_SECONDS,
    Exclusive,
    file_section,
    proxy_section,
    row_section,
)

# Writers of one SQLite file wait for each other inside SQLite, where no signal is heard: 5 s
# outlasts any queue of workers whose transactions take milliseconds. Whoever needs to waits longer
# by trying again.
SQLITE_TIMEOUT_SECONDS = 5
# A proxy that is there answers at once; this leaves time for one that is just starting.
GRPC_TIMEOUT_SECONDS = 10

# In the order of preference; "postgresql://" alone takes the first that is installed.
POSTGRESQL_DRIVERS = ("psycopg", "psycopg2")

JOURNAL_PREFIX = "journal:"
GRPC_PREFIX = "grpc://"


@dataclass(frozen=True)
class Storage:
    """An open storage.

    Args:
        url: As it was given; may hold a password, never print it.
        optuna: Optuna's own object.
        exclusive: Opens a section that only one process at a time is in; what compares and then
            writes belongs into one.
    """

    url: str
    optuna: BaseStorage
    exclusive: Exclusive


def default_url(database: Path) -> str:
    """The URL of a run's own SQLite file."""
    return f"sqlite:///{database.resolve()}"


def kind_of(url: str) -> str:
    """What kind of storage a URL names: ``sqlite``, ``journal``, ``grpc``, ``postgresql``, ..."""
    return url.partition(":")[0].partition("+")[0]


def one_machine_only(url: str) -> bool:
    """Whether a storage is a file, whose locks hold on one machine."""
    return kind_of(url) in ("sqlite", "journal")


def absolute(url: str) -> str:
    """The same storage by a URL that means it from every directory."""
    prefixes = {"sqlite": "sqlite:///", "journal": JOURNAL_PREFIX}
    prefix = prefixes.get(kind_of(url), "")
    if not prefix or not url.startswith(prefix) or url.endswith(":memory:"):
        return url
    return prefix + str(Path(url.removeprefix(prefix)).expanduser().absolute())


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
    return Storage(url, JournalStorage(backend), file_section(path))


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
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _cut_half_line(self._journal)
        except OSError:  # the journal is away for a while: whoever tries again must get the lock
            os.close(handle)
            raise
        self._handles.append(handle)
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
    return Storage(url, proxy, proxy_section(proxy))


def _relational(url: str) -> Storage:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url, parsed)
    storage = _on_server(_with_driver(parsed))
    weakref.finalize(storage, storage.engine.dispose)  # drivers complain of open connections
    return Storage(url, get_storage(storage), row_section(storage))


def _with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """A PostgreSQL URL that names no driver gets the one that is installed."""
    if url.drivername not in ("postgresql", "postgres"):
        return url
    installed = [name for name in POSTGRESQL_DRIVERS if importlib.util.find_spec(name)]
    if not installed:
        raise ImportError("no PostgreSQL driver is installed: pip install 'sweeper[postgres]'")
    return url.set(drivername=f"postgresql+{installed[0]}")


def _on_server(url: sqlalchemy.URL) -> RDBStorage:
    text = url.render_as_string(hide_password=False)
    with contextlib.ExitStack() as alone:
        if url.get_backend_name() == "postgresql":
            alone.enter_context(_creating_tables(url))
        # A worker holds one connection, and a second one while a heartbeat falls into its work:
        # a server's usual hundred connections then carry many workers.
        kwargs = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 3}
        storage = RDBStorage(text, engine_kwargs=kwargs)
    if url.get_backend_name() == "postgresql":
        sqlalchemy.event.listen(storage.engine, "connect", _limit_sections)
        storage.engine.dispose()  # connections made before this have no limit
    return storage


@contextlib.contextmanager
def _creating_tables(url: sqlalchemy.URL) -> Iterator[None]:
    # Two processes that create the tables at once would both fail. The number is arbitrary.
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(730717801)"))
        yield


def _limit_sections(connection: object, _record: object) -> None:
    # A process that was stopped in a section must not keep the others waiting: its transaction is
    # undone by the server.
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
        factor = 2 if setting == "lock_timeout" else 1  # who waits outlasts who holds
        cursor.execute(f"SET {setting} = {int(SECTION_SECONDS * factor * 1000)}")
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _sqlite(url: str, parsed: sqlalchemy.URL) -> Storage:
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("an SQLite storage needs a file: workers are processes of their own")
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    exclusive = file_section(path)
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
