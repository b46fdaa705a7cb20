"""A PostgreSQL server for tests and benchmarks: own folder, own socket, gone at the end."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

# Debian keeps the server's programs out of the path: /usr/lib/postgresql/VERSION/bin.
_PLACES = "/usr/lib/postgresql/*/bin"


def programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; None where no server is installed."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/").glob(_PLACES.lstrip("/")), reverse=True)
    return next((f for f in folders if (f / "pg_ctl").exists()), None)


def _as_somebody() -> list[str]:
    # The server refuses to run as root; Debian's package brings a user for it.
    return ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []


@contextmanager
def server(bin_folder: Path) -> Iterator[str]:
    """Start a server on a socket and give the URL of its first database, ``{}`` for the name."""
    with tempfile.TemporaryDirectory(prefix="sweeper-pg-") as made:
        folder = Path(made)
        if _as_somebody():
            shutil.chown(folder, "postgres")
        data, log = folder / "data", folder / "log"

        def run(program: str, arguments: Sequence[str]) -> None:
            command = [*_as_somebody(), str(bin_folder / program), "-D", str(data), *arguments]
            done = subprocess.run(
                command,
                check=False,
                text=True,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server
                stderr=subprocess.DEVNULL,
            )
            why = log.read_text() if log.exists() else ""
            assert done.returncode == 0, f"{program} ended with {done.returncode}\n{why}"

        run("initdb", ["-A", "trust", "-U", "tester", "-N", "--locale=C", "-E", "UTF8"])
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        run("pg_ctl", ["-w", "-l", str(log), "-o", options, "start"])
        try:
            yield f"postgresql://tester@/{{}}?host={folder}"
        finally:
            run("pg_ctl", ["-m", "immediate", "-w", "stop"])


def make_database(template: str, name: str) -> str:
    """Make an empty database and give its URL."""
    with psycopg.connect(template.format("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return template.format(name)
