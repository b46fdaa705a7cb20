"""The folder for caches, and folders in it that appear only when complete.

What takes long to make is made by one process only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# How often a process that waits for another one's work looks again.
_LOOK_EVERY_SECONDS = 0.2

UNUSED_SECONDS = 30 * 24 * 3600
"""After a month, a run is seldom continued, and its data can be read and tokenised again."""


def home() -> Path:
    """The folder for caches: ``SWEEPER_HOME``, or ``~/.cache/sweeper``."""
    configured = os.environ.get("SWEEPER_HOME")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "sweeper"


def _patiently() -> None:
    """Wait without limit."""


def made_once(
    folder: Path,
    make: Callable[[Path], None],
    is_current: Callable[[Path], bool] = Path.is_dir,
    while_waiting: Callable[[], None] = _patiently,
) -> Path:
    """The folder, made now if it is not there.

    It appears in one step; a second process waits for the first one's work instead of doing it
    again. Where ``make`` raises, nothing is left behind; what a killed process left is removed.

    Args:
        is_current: Whether what lies there can be used as it is.
        while_waiting: Called again and again while another process makes it; may raise.

    Raises:
        OSError: The place cannot be written.
    """
    if is_current(folder):
        return folder
    with _lock(folder.parent / f".{folder.name}.lock", while_waiting):
        if not is_current(folder):
            _replace(folder, make)
    return folder


def made_while_used(
    folder: Path, make: Callable[[Path], None], while_waiting: Callable[[], None] = _patiently
) -> Path:
    """As ``made_once``; folders beside it that nobody used for a month are removed before."""

    def with_room(new: Path) -> None:
        for old in folder.parent.glob("[!.]*/"):
            if time.time() - old.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        make(new)

    made_once(folder, with_room, while_waiting=while_waiting)
    os.utime(folder)
    return folder


@contextmanager
def _lock(path: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                while_waiting()
                time.sleep(_LOOK_EVERY_SECONDS)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, make: Callable[[Path], None]) -> None:
    for left in folder.parent.glob(f".{folder.name}.*/"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        make(temporary)
        temporary.chmod(0o755)
        for path in temporary.iterdir():
            # safetensors writes files that only their owner may read.
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
