"""Room on the disk: what a run will need, how much is free, and which errors mean that none is.

Knows sizes and paths; deletes nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sweeper import units
from sweeper.errors import RunError
from sweeper.planning.plan import Candidate, Plan

GIB = 1024**3
# What a run writes beside weights while it stops: study, logs, status, report. Measured: all of a
# finished run of 8 trials without weights is 0.5 MiB; this is room for some five hundred.
RESERVE_BYTES = 32 * 1024**2

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEXTS = ("disk is full", "no space left", "quota exceeded")


class NoRoom(Exception):
    """The disk is full: nothing is wrong with the trial that noticed."""


def no_room(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, means that the disk is full."""
    while error is not None:
        if isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
            return True
        if any(text in str(error).lower() for text in _TEXTS):
            return True
        error = error.__cause__
    return False


def weights_bytes(candidate: Candidate) -> int:
    """How large the weights of one trial are: what trains, at the width that it is stored in."""
    return candidate.trainable_parameters * (2 if candidate.precision == "bf16-pure" else 4)


@dataclass(frozen=True)
class DiskBudget:
    """What a run may come to hold at once, in bytes."""

    kept: int
    confirmation: int
    in_flight: int

    @property
    def total(self) -> int:
        """All of it, with the reserve."""
        return self.kept + self.confirmation + self.in_flight + RESERVE_BYTES

    @property
    def least(self) -> int:
        """What must be free at any moment, so that the trials under way can end."""
        return self.in_flight + RESERVE_BYTES

    def sentence(self, folder: Path) -> str:
        """What the run will need, and whether it is there."""
        free = free_bytes(folder)
        text = f"weights need up to {size(self.total)} of disk, {size(free)} are free"
        if free < self.total:
            text += ": the run will stop before the disk is full if it comes to that"
        return text


def disk_budget(plan: Plan, workers: int) -> DiskBudget:
    """What a plan's weights come to: of each strategy the default and the best, the finalists.

    The weights of all other trials are deleted as soon as they have lost.
    """
    sizes = [weights_bytes(candidate) for candidate in plan.candidates]
    largest, budget = max(sizes), plan.budget
    return DiskBudget(
        kept=2 * sum(sizes) + budget.finalists * largest,
        confirmation=budget.finalists * max(0, budget.confirmation_seeds - 1) * largest,
        in_flight=workers * largest,
    )


def free_bytes(folder: Path) -> int:
    """Free bytes where the folder lies. ``SWEEPER_DISK_LIMIT_GIB`` caps what counts as free."""
    free = shutil.disk_usage(folder).free
    limit = os.environ.get("SWEEPER_DISK_LIMIT_GIB")
    if limit is None:
        return free
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return min(free, max(0, int(float(limit) * GIB) - used))


def size(count: int) -> str:
    """Bytes for a reader."""
    return units.gib(count / GIB) if count >= GIB / 10 else f"{count / 1024**2:.0f} MiB"


def full(folder: Path, needed: int = RESERVE_BYTES) -> RunError:
    """The error that ends a run whose disk has no room left."""
    try:
        free = size(free_bytes(folder))
    except OSError:
        free = "an unknown amount"
    return RunError(
        f"the disk has no room left: {free} free, {size(needed)} needed",
        why="The trials under way could not keep their weights; all that has ended is kept.",
        fix="Make room, then give the same command again: it resumes.",
        where=str(folder),
    )
