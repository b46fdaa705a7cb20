"""The cache folder, and folders that one process makes and others share.

Such a folder appears only once it is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeper.textfiles import replacing

# Interval at which a process checks whether another one has finished a folder.
_LOCK_POLL_SECONDS = 0.2

UNUSED_SECONDS = 30 * 24 * 3600
"""Time without use after which a folder of ``made_and_touched`` is removed."""


def home() -> Path:
    """The folder for caches: ``SWEEPER_HOME``, or ``~/.cache/sweeper``."""
    configured = os.environ.get("SWEEPER_HOME")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "sweeper"


def _do_nothing() -> None:
    """The default of ``while_waiting``."""


def make_once(
    folder: Path,
    make: Callable[[Path], None],
    is_current: Callable[[Path], bool] = Path.is_dir,
    while_waiting: Callable[[], None] = _do_nothing,
) -> Path:
    """Make a folder unless a usable one exists; returns its path.

    The folder appears atomically. If another process makes it, this one waits. If ``make``
    raises, nothing is left; leftovers of killed processes are removed.

    Args:
        make: Function that fills the empty folder it gets.
        is_current: Whether an existing folder can be used.
        while_waiting: Callback, repeated while another process makes the folder; may raise.

    Raises:
        OSError: The folder cannot be written.
    """
    if is_current(folder):
        return folder
    with _lock(folder.parent / f".{folder.name}.lock", while_waiting):
        if not is_current(folder):
            _replace(folder, make)
    return folder


def made_and_touched(
    folder: Path, make: Callable[[Path], None], while_waiting: Callable[[], None] = _do_nothing
) -> Path:
    """Make a folder as ``make_once`` does, and mark it as used now; returns its path.

    Before a folder is made, its siblings that were not used for ``UNUSED_SECONDS`` are removed.
    """

    def remove_unused_and_make(new: Path) -> None:
        for old in folder.parent.glob("[!.]*/"):
            if time.time() - old.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        make(new)

    make_once(folder, remove_unused_and_make, while_waiting=while_waiting)
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
                time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, make: Callable[[Path], None]) -> None:
    for leftover in folder.parent.glob(f".????????.{folder.name}/"):  # named by ``replacing``
        shutil.rmtree(leftover, ignore_errors=True)
    with replacing(folder) as temporary:
        temporary.mkdir(0o700)
        make(temporary)
        temporary.chmod(0o755)
        for path in temporary.iterdir():
            # safetensors writes files that only their owner can read.
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(folder, ignore_errors=True)
