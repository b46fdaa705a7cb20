"""Folders that take long to make: whole whenever they are there, and made by one process only.

Knows locks and renames, not what lies in a folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def made_once(
    folder: Path, make: Callable[[Path], None], is_current: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """The folder, made now if it is not there.

    It appears in one step; a second process waits for the first one's work instead of doing it
    again. Where ``make`` raises, nothing is left behind.

    Args:
        folder: Where it lies.
        make: Fills an empty folder.
        is_current: Whether what lies there can be used as it is.

    Raises:
        OSError: The place cannot be written.
    """
    if is_current(folder):
        return folder
    with _lock(folder.parent / f".{folder.name}.lock"):
        if not is_current(folder):
            _replace(folder, make)
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, make: Callable[[Path], None]) -> None:
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
