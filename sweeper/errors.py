"""The errors that users see: what went wrong, why, and what to do.

    SweeperError                 exit code
    ├── UsageError                   2      flags, sweep.yaml, paths
    │   ├── SpecError                2      sweep.yaml or flags are wrong (all problems are listed)
    │   ├── OtherVersion             2      a file was written by another version of sweeper
    │   ├── RuleError                2      a rule or strategy file is wrong
    │   ├── DataError                2      a data set cannot be used as it is
    │   ├── ModelError               2      a model cannot be found or read
    │   ├── TooLarge                 2      the memory of the device is too small
    │   ├── NotInstalled             2      an optional package is missing
    │   └── RunError                 2      a run folder is locked, foreign, or not writable
    ├── ChildFailed                  1      a child process failed or took too long
    ├── NothingFits                  3      no strategy fits the hardware
    │   └── TooLong                  3      no trial would end in time
    ├── NoTrialCompleted             4      the sweep ended without one completed trial
    └── GateFailed                   5      --fail-under or a limit was not met

Without one of these errors, exit code 1 means a bug in sweeper; 130 and 143 mean that a signal
ended the run.

Each error has a stable ``code``: that of its first problem that has one, otherwise its class's.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One problem of an error.

    Args:
        what: What happened, with the value.
        why: Why this is a problem, with the bound. May be empty.
        fix: What the user can do about it. May be empty.
        where: ``file:line key``, a flag, or a path. May be empty.
        code: Stable code of this kind of problem; if empty, that of the error's class.
    """

    what: str
    why: str = ""
    fix: str = ""
    where: str = ""
    code: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return "\n".join([head, *(f"  {part}" for part in (self.why, self.fix) if part)])


class SweeperError(Exception):
    """The base class of errors that users see.

    Args:
        what: What happened; or all problems, which hold the other arguments.
        why, fix, where, code: As in ``Problem``.
    """

    exit_code = 1
    code = "failure"

    def __init__(
        self,
        what: str | Sequence[Problem],
        why: str = "",
        fix: str = "",
        where: str = "",
        code: str = "",
    ) -> None:
        if isinstance(what, str):
            self.problems: tuple[Problem, ...] = (Problem(what, why, fix, where, code),)
        else:
            self.problems = tuple(what)
        self.code = next((p.code for p in self.problems if p.code), type(self).code)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(SweeperError):
    """The command line or a file that it names cannot be used."""

    code = "usage"
    exit_code = 2


class SpecError(UsageError):
    """``sweep.yaml`` or the flags are wrong; all problems are listed."""

    code = "request"


class OtherVersion(UsageError):
    """A file was written by another version of sweeper, older or newer."""

    code = "other-version"


class RuleError(UsageError):
    """A rule file or a strategy file is wrong; all problems are listed."""

    code = "rule-file"


class DataError(UsageError):
    """A data set cannot be used as it is."""

    code = "data"


class ModelError(UsageError):
    """A model cannot be found, downloaded or read."""

    code = "model"


class TooLarge(UsageError):
    """The memory of the device is too small for any batch size.

    Args:
        detail: The allocator's message.
        needed_gib: Memory in use plus the requested memory, if the message has the latter.
        had_gib: GPU memory that other processes do not use; all main memory without a GPU.
        loading: Whether memory ran out while a model was loaded.
    """

    code = "too-large"

    def __init__(
        self, detail: str, needed_gib: float | None, had_gib: float, *, loading: bool = False
    ) -> None:
        super().__init__(f"while loading the model: {detail}" if loading else detail)
        self.needed_gib, self.had_gib, self.loading = needed_gib, had_gib, loading


class NotInstalled(UsageError):
    """An optional package is missing or cannot be loaded; the error says how to install it."""

    code = "not-installed"


class RunError(UsageError):
    """A run folder cannot be used: locked by another command, foreign, or not writable."""

    code = "run-folder"


class ChildFailed(SweeperError):
    """A child process failed or took too long.

    ``status`` is its exit status, negative for a signal; None if it took too long.
    """

    code = "process-failed"
    status: int | None = None


class NothingFits(SweeperError):
    """No strategy fits the hardware. ``plan`` is the incomplete plan as JSON; may be empty."""

    code = "nothing-fits"
    exit_code = 3
    plan = ""


class TooLong(NothingFits):
    """No trial would end within the budget, or in a reasonable time."""

    code = "too-long"


class NoTrialCompleted(SweeperError):
    """The sweep ended without a single completed trial."""

    code = "no-trial-completed"
    exit_code = 4


class GateFailed(SweeperError):
    """A limit that the user set was exceeded."""

    code = "limit-exceeded"
    exit_code = 5


# Error numbers of writing without space: on the disk, in the quota, or in the file.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FIXES = {
    **dict.fromkeys(NO_SPACE, "Free some space, or choose a place on another disk."),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "Check the permissions of this place, or choose another one.",
    ),
    errno.ENOENT: "Check the path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
}


def os_problem(error: OSError, where: str = "") -> Problem:
    """A system error as a problem, with the remedy if known.

    Args:
        where: File or folder, if the error names none.
    """
    path = error.filename2 or error.filename
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) and isinstance(path, str)
    return Problem(
        error.strerror or str(error) or type(error).__name__,
        why=_free_space_sentence(str(path)) if full else "",
        fix=_FIXES.get(error.errno or 0, ""),
        where=path.decode(errors="replace") if isinstance(path, bytes) else str(path or where),
    )


def _free_space_sentence(path: str) -> str:
    """A sentence with the mount point of a file and its free space."""
    disk = Path(path).absolute()
    while not disk.is_mount():
        disk = disk.parent
    free = os.statvfs(disk)
    return f"The disk at {disk} has {free.f_bavail * free.f_frsize >> 10:,} KiB free."


def near_match(word: str, candidates: Iterable[str]) -> str:
    """A sentence that suggests the nearest known word, or lists all of them.

    >>> near_match("lroa", ["full", "lora"])
    "Did you mean 'lora'?"
    >>> near_match("x", ["full", "lora"])
    'Known: full, lora.'
    """
    names = sorted(candidates)
    close = difflib.get_close_matches(word, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."
