"""Disk space: how much is free, and which errors mean that the disk is full."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sweeper import units
from sweeper.errors import NO_SPACE, RunError

GIB = 1024**3
# Space for files other than weights that a run writes while it stops: study, logs, status, report.
# Measured: 0.5 MiB for 8 finished trials, so this is enough for about 500.
RESERVE_BYTES = 32 * 1024**2

_DISK_FULL_TEXTS = ("disk is full", "no space left", "quota exceeded")


class NoRoom(Exception):
    """The disk is full or nearly full, through no fault of the trial."""


def no_room(error: BaseException | None) -> bool:
    """Whether an error or one of its causes means that the disk is full."""
    while error is not None:
        if isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in NO_SPACE):
            return True
        if any(text in str(error).lower() for text in _DISK_FULL_TEXTS):
            return True
        error = error.__cause__
    return False


def free_bytes(folder: Path) -> int:
    """Free bytes on the folder's disk; fewer if ``SWEEPER_DISK_LIMIT_GIB`` limits the folder."""
    free = shutil.disk_usage(folder).free
    limit = os.environ.get("SWEEPER_DISK_LIMIT_GIB")
    if limit is None:
        return free
    return min(free, max(0, int(float(limit) * GIB) - sum(_sizes(folder))))


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes of each file in a folder; files that workers delete meanwhile are skipped."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield Path(parent, name).stat().st_size


def size(count: int) -> str:
    """A number of bytes as text, in GiB or MiB."""
    return units.gib(count / GIB) if count >= GIB / 10 else f"{count / 1024**2:.0f} MiB"


def full(folder: Path, needed: int = RESERVE_BYTES) -> RunError:
    """The error that ends a run whose disk is full."""
    try:
        free = size(free_bytes(folder))
    except OSError:
        free = "an unknown amount"
    return RunError(
        f"the disk has no room left: {free} free, {size(needed)} needed",
        why="The trials under way could not keep their weights; all that has ended is kept.",
        fix="Free some space, then give the same command again: it resumes.",
        where=str(folder),
    )
