"""The paths of one run's files, and its lock.

runs/<name>/
  sweep.yaml plan.json                the spec, and the plan with its facts
  data_changes.jsonl                  changes that features of sweeper made to rows, one a line
  study.db                            Optuna storage
  status.json events.jsonl worker-<k>.log
  baselines/<name>.json               results of baselines
  trials/<n>/                         config.json rungs.jsonl result.json item_losses.json
    attempts/<k>/                     the same files and trainer.log of each attempt
    seeds/<s>/                        the same files of each confirmation run
    rows/<n>/<s>/                     the same files of each training on <n> rows
    weights/                          adapter or full weights, head included
  bases/<id>/                         base models that features made, such as by continued
                                      pretraining; adapters trained on them need them
  evaluations/                        scores of base and trials on other tasks
  test.json                           the ranked finalists, and all scores on the test split
  features/<name>/                    files of one feature of sweeper
  findings.json trials.csv curves.csv report.html report.md report.json MODEL_CARD.md
  listeners/<feature>/                logs and files of processes that listen to the run
  report.log                          output of a process that died while it made the report
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sweeper.artifact import Artifact
from sweeper.errors import OtherVersion, RunError, UsageError, near_match, os_problem

# The lock is tried several times, as reading ``held`` takes it for a moment.
_LOCK_TRIES, _LOCK_RETRY_SECONDS = 4, 0.05

#: Names of files in the folder of a trial or of an attempt.
CONFIG, RUNGS, RESULT, WEIGHTS = "config.json", "rungs.jsonl", "result.json", "weights"
ITEM_LOSSES, ENDED, SCORE = "item_losses.json", "ended.json", "score.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
A = TypeVar("A", bound=Artifact)


class _FileInRun:
    """A descriptor: the path of a run's file or folder with this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunFolder, _: type[RunFolder]) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run and the names of the files in it."""

    path: Path

    spec = _FileInRun("sweep.yaml")
    plan = _FileInRun("plan.json")
    data_changes = _FileInRun("data_changes.jsonl")
    study = _FileInRun("study.db")
    status = _FileInRun("status.json")
    events = _FileInRun("events.jsonl")
    baselines = _FileInRun("baselines")
    trials = _FileInRun("trials")
    test_seal = _FileInRun("test.json")
    findings = _FileInRun("findings.json")
    report = _FileInRun("report.json")
    report_html = _FileInRun("report.html")
    listeners = _FileInRun("listeners")
    lock_file = _FileInRun(".lock")

    @classmethod
    def named(cls, name: str, root: Path = Path("runs")) -> RunFolder:
        """The folder of the run with this name.

        Raises:
            RunError: The name is invalid, or ``check_regular`` refuses the folder.
        """
        if not _NAME.fullmatch(name):
            raise RunError(
                f"{name!r} cannot be the name of a run",
                why="A name is a folder: letters, digits, '.', '_' and '-', at most 100.",
                fix="Choose another --name.",
                code="run-name",
            )
        check_regular(root / name)
        return cls(root / name)

    @classmethod
    def find(cls, run: str | Path, root: Path = Path("runs")) -> RunFolder:
        """The folder of an existing run, by its name or path.

        Raises:
            RunError: There is no such run (the error suggests the nearest name), or
                ``check_regular`` refuses the folder.
        """
        for folder in (Path(run), root / run):
            if (folder / "plan.json").is_file():
                check_regular(folder)
                return cls(folder)
        names = [plan.parent.name for plan in root.glob("*/plan.json")]
        fix = near_match(str(run), names) if names else "Start one with 'sweeper run'."
        raise RunError(
            f"there is no run {str(run)!r} here",
            why=f"Neither {run} nor {root / run} has a plan.json.",
            fix=fix,
        )

    @property
    def place(self) -> str:
        """The folder's path, relative to the working directory if it is below it."""
        working_folder = Path.cwd()
        return str(
            self.path.relative_to(working_folder)
            if self.path.is_relative_to(working_folder)
            else self.path
        )

    @property
    def quoted(self) -> str:
        """``place``, quoted for a shell."""
        return shlex.quote(self.place)

    def feature(self, name: str) -> Path:
        """The folder with a feature's files."""
        return self.path / "features" / name

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.trials / str(number)

    def seed(self, number: int, seed: int) -> Path:
        """The folder of a trial's confirmation run with this seed."""
        return self.trial(number) / "seeds" / str(seed)

    @property
    def held(self) -> bool:
        """Whether a command holds the lock of this run."""
        try:
            handle = os.open(self.lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run, so that a second command on the same folder is refused.

        The lock is released when the process ends, in any way.

        Raises:
            RunError: Another command holds the lock, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError([os_problem(error, str(self.path))]) from error
        try:
            try:
                _lock(handle)
            except OSError as error:
                owner = os.pread(handle, 300, 0).decode(errors="replace").strip() or "unknown"
                raise RunError(
                    f"another sweeper command is running this sweep (process {owner})",
                    why="Two commands on one run folder would overwrite each other's files.",
                    fix="Wait for it, or choose another --name.",
                    where=str(self.path),
                    code="run-locked",
                ) from error
            # The text is only for error messages; the lock works on a full disk, too.
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(handle)


def check_regular(folder: Path) -> None:
    """Check that a folder contains only files and folders.

    A run from others may contain links to private files, or pipes that block a reader. Links in
    ``listeners/`` are allowed, as those files are not read.

    Raises:
        RunError: The folder contains a link, a pipe or a device.
    """
    refused = []
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            with suppress(FileNotFoundError):  # a running sweep may delete files
                mode = path.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    refused.append(path.relative_to(folder).as_posix())
        if parent == str(folder) and "listeners" in folders:
            folders.remove("listeners")
    if refused:
        raise RunError(
            f"links, pipes and devices are not read: {', '.join(sorted(refused)[:5])}",
            why="A link may point to a file that is not part of the run.",
            fix="Put the files themselves there, or delete these entries.",
            where=str(folder),
        )


def read_stored(kind: type[A], path: Path) -> A:
    """Read an artifact of a run. If it is damaged, the error says so, as it cannot be made again.

    Raises:
        OtherVersion: Another version of sweeper wrote it.
        RunError: It is damaged.
    """
    try:
        return kind.read(path)
    except OtherVersion:
        raise
    except UsageError as error:
        raise RunError(
            f"the run's {path.name} is damaged",
            why=error.problems[0].what,
            fix="Start over with --new (the old run is renamed, nothing is deleted), or put "
            f"{path.name} back from a backup.",
            where=str(path),
        ) from error


def _lock(handle: int) -> None:
    """Lock an open file.

    Raises:
        OSError: Another process holds the lock.
    """
    for _ in range(_LOCK_TRIES - 1):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOCK_RETRY_SECONDS)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
