"""Damaged files of a run: restored from an attempt, marked to be made again, or reported.

A killed process leaves complete files, since they are replaced in one step; a power cut, a full
disk or a sync tool may damage them.
"""

from __future__ import annotations

import os
from pathlib import Path

from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import attempts_of
from sweeper.runfolder import RESULT, RunFolder
from sweeper.trials import BaselineResult, TrialResult


def finished_result(home: Path) -> TrialResult | None:
    """The result of a trial or confirmation run, restored from its attempt's copy if damaged.

    None if the training has not finished.
    """
    result = TrialResult.read_or_none(home / RESULT)
    if result is None and (home / RESULT).exists():
        complete = [n for n in attempts_of(home) if attempts.complete_result(home, n) is not None]
        result = attempts.promote(home, complete[-1]) if complete else None
    return result


def baselines(run: RunFolder) -> dict[str, BaselineResult | None]:
    """The baselines by name; None if a file is damaged."""
    paths = sorted(run.baselines.glob("*.json"))
    return {path.stem: BaselineResult.read_or_none(path) for path in paths}


def damaged_baselines(run: RunFolder) -> list[str]:
    """Names of the baselines whose files cannot be read."""
    return [name for name, baseline in baselines(run).items() if baseline is None]


def cut_incomplete_line(path: Path) -> None:
    """Cut off an incomplete line that a killed process left at the end of a file."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
