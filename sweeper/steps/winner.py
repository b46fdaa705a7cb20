"""The winner of a run: its number and its weights."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeper.errors import UsageError
from sweeper.findings.compute import compute
from sweeper.findings.record import Findings
from sweeper.runfolder import RunFolder


def best_trial(findings: Findings, fix: str = "") -> int:
    """The recommended trial, or the one that the verdict names as the best so far.

    Args:
        fix: What to do where there is none; to see the state of the trials by default.

    Raises:
        UsageError: No trial has completed.
    """
    number = findings.verdict.best_trial
    if number is None:
        place = findings.run.place
        fix = fix or f"See 'sweeper show {shlex.quote(place)}' for the state of its trials."
        raise UsageError("this run has no completed trial", fix=fix, where=place)
    return number


def kept_weights(run: RunFolder, trial: int | None = None) -> Path:
    """The folder with the weights of a trial, or of the recommended one.

    Raises:
        UsageError: No trial has completed, or that one kept no weights.
    """
    fix = f"See 'sweeper show {run.quoted}'. To go on with it: sweeper run {run.quoted}/sweep.yaml"
    number = best_trial(compute(run), fix) if trial is None else trial
    weights = run.trial(number) / "weights"
    if not (weights / "sweeper.json").is_file():
        raise UsageError(
            f"trial {number} has no weights",
            why="Only the best completed trials keep them.",
            fix=f"See 'sweeper show {run.quoted}' for the trials that completed.",
            where=str(weights),
        )
    return weights
