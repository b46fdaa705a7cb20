"""Damaged files of a run: read from their copies, or marked to be made again.

A killed process leaves whole files (they are replaced in one step); a power cut, a full disk or a
sync tool may not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from sweeper.artifact import Artifact
from sweeper.errors import OtherVersion, UsageError
from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import attempts_of
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult, TrialResult

A = TypeVar("A", bound=Artifact)


def copy_of(path: Path) -> Path:
    """The path of the copy of a file that cannot be made again."""
    return path.with_name(f".{path.name}.copy")


def write_twice(artifact: Artifact, path: Path) -> None:
    """Write an artifact and its copy; the copy first, so that one of them is always whole."""
    artifact.write(copy_of(path))
    artifact.write(path)


def read_either(kind: type[A], path: Path) -> A:
    """Read an artifact, from its copy where the file itself is damaged.

    Raises:
        OtherVersion: Another version of sweeper wrote it.
        UsageError: Both are damaged or missing.
    """
    try:
        return kind.read(path)
    except UsageError as error:
        if isinstance(error, OtherVersion) or not copy_of(path).is_file():
            raise
        restored = kind.read(copy_of(path))
    restored.write(path)
    return restored


def confirmed(home: Path) -> TrialResult | None:
    """The result of a confirmation run, from its attempt's copy where the file is damaged."""
    known = TrialResult.read_or_none(home / attempts.RESULT)
    if known is None and (home / attempts.RESULT).exists():
        whole = [n for n in attempts_of(home) if attempts.whole_result(home, n) is not None]
        known = attempts.promote(home, whole[-1]) if whole else None
    return known


def baselines(run: RunFolder) -> dict[str, BaselineResult | None]:
    """The baselines by name; None where the file is damaged."""
    paths = sorted(run.baselines.glob("*.json"))
    return {path.stem: BaselineResult.read_or_none(path) for path in paths}


def damaged_baselines(run: RunFolder) -> list[str]:
    """Names of the baselines whose files cannot be read."""
    return [name for name, known in baselines(run).items() if known is None]


def cut_half_line(path: Path) -> None:
    """Cut off what a killed process left of a line at the end of a file of lines."""
    if not path.is_file():
        return
    whole = path.read_bytes()
    if not whole.endswith(b"\n"):
        os.truncate(path, whole.rfind(b"\n") + 1)
