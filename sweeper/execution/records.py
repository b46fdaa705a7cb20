"""The files of one attempt and how they become the trial's: in an order that survives a kill.

An attempt writes into its own folder; ``result.json`` there says that it ended. Promoting copies
the files up and ``result.json`` last, so that its presence above means that all of it is there.
Knows nothing about Optuna.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from sweeper.artifact import write_text
from sweeper.errors import UsageError
from sweeper.trials import RungReport, TestScore, TrialConfig, TrialResult

CONFIG, RUNGS, RESULT, WEIGHTS = "config.json", "rungs.jsonl", "result.json", "weights"
ITEM_LOSSES, GENERAL_LOSSES = "item_losses.json", "general_item_losses.json"


def begin_attempt(target: Path, config: TrialConfig) -> Path:
    """An empty folder for one attempt, with its configuration also shown in ``target``."""
    attempt = target / "attempts" / str(config.attempt)
    if attempt.exists():
        shutil.rmtree(attempt)
    config.write(attempt / CONFIG)
    config.write(target / CONFIG)
    write_text(target / RUNGS, "")
    return attempt


def add_rung(target: Path, attempt: Path, report: RungReport) -> None:
    """Append one report to the attempt's and the trial's curve."""
    line = report.model_dump_json() + "\n"
    for folder in (attempt, target):
        with (folder / RUNGS).open("a", encoding="utf-8") as file:
            file.write(line)


def read_rungs(folder: Path) -> list[RungReport]:
    """The curve in a folder; lines that were cut off or damaged are left out."""
    path = folder / RUNGS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [report for line in lines if (report := _report(line)) is not None]


def _report(line: str) -> RungReport | None:
    try:
        return RungReport.from_json(line)
    except UsageError:
        return None


def end_attempt(
    target: Path, attempt: Path, result: TrialResult, held: Callable[[], bool] = lambda: True
) -> bool:
    """Write the attempt's result and make its files the trial's.

    Args:
        target: Folder of the trial or the confirmation run.
        attempt: Of the attempt.
        result: How it ended.
        held: Whether the trial still is this process's. One that was stopped for long must not
            put its files over those of another attempt.

    Returns:
        False, and ``target`` is as it was, if the trial was lost.
    """
    result.write(attempt / RESULT)
    if not held():
        (attempt / RESULT).unlink()
        return False
    promote(target, attempt)
    return True


def promote(target: Path, attempt: Path) -> TrialResult:
    """Make an ended attempt's files the trial's; again and again with the same effect."""
    for name in (CONFIG, RUNGS, ITEM_LOSSES, GENERAL_LOSSES):
        if (attempt / name).exists():
            text = (attempt / name).read_text(encoding="utf-8", errors="replace")
            write_text(target / name, text)
    weights = attempt / WEIGHTS
    if weights.exists():
        if (target / WEIGHTS).exists():
            shutil.rmtree(target / WEIGHTS)
        weights.rename(target / WEIGHTS)
    result = TrialResult.read(attempt / RESULT)
    result.write(target / RESULT)
    return result


def drop_weights(target: Path) -> None:
    """Delete the weights of a trial that is no longer worth them, and say so in its result."""
    with contextlib.suppress(UsageError):  # damaged since: whoever reads it next repairs it
        result = TrialResult.read(target / RESULT)
        result.model_copy(update={"weights": None}).write(target / RESULT)
    shutil.rmtree(target / WEIGHTS, ignore_errors=True)


def drop_leftovers(attempt: Path) -> None:
    """Delete weights, whole or half written, of an attempt that will not be the trial's."""
    for left in list(attempt.rglob(WEIGHTS)):
        shutil.rmtree(left, ignore_errors=True)


def write_score(path: Path, score: TestScore) -> None:
    """Keep the score of one model on the test split until the seal takes it up."""
    write_text(path, score.model_dump_json() + "\n")


def read_score(path: Path) -> TestScore | None:
    """What ``write_score`` kept; None where it kept nothing that can be read."""
    try:
        return TestScore.model_validate_json(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValidationError):
        return None
