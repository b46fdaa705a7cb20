"""The files of attempts: begin one, end it without a result, or accept it.

A trial, a confirmation run or another job has a home folder with ``attempts/<k>/`` in it. A worker
writes only into its attempt's folder. ``result.json`` there means that the attempt ended with a
result; ``ended.json`` says why it ended without one. An attempt with ``ended.json`` is abandoned:
files that a lost worker still writes into it are ignored. ``promote`` copies an attempt's files
into the home, ``result.json`` last, so that its presence means that all files are there.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeper.artifact import now
from sweeper.errors import UsageError
from sweeper.objective import Objective
from sweeper.runfolder import CONFIG, ENDED, ITEM_LOSSES, RESULT, RUNGS, WEIGHTS
from sweeper.textfiles import read_json_object, write_text
from sweeper.trials import (
    MEASURE_ITEMS,
    AttemptEnd,
    AttemptEndKind,
    Failure,
    RungReport,
    TrialConfig,
    TrialResult,
    so_far,
)

# After this many crashed attempts, the work item counts as the cause, and fails.
CRASHES_ALLOWED = 3
# Ends that count as a crash. A lost machine, a preemption or a killed command does not.
CRASHES: frozenset[AttemptEndKind] = frozenset({"crash", "hang", "error", "damaged"})


def attempts_of(home: Path) -> list[int]:
    """The numbers of all attempts, in order."""
    folders = (home / "attempts").glob("*")
    return sorted(int(path.name) for path in folders if path.name.isdecimal())


def attempt_folder(home: Path, attempt: int) -> Path:
    """The folder of one attempt."""
    return home / "attempts" / str(attempt)


def new_attempt(home: Path) -> int:
    """Make the folder of the next attempt, and return its number."""
    number = max(attempts_of(home), default=0) + 1
    attempt_folder(home, number).mkdir(parents=True)
    return number


def begin(home: Path, config: TrialConfig, rungs: Iterable[RungReport] = ()) -> None:
    """Write an attempt's configuration and rungs into its folder and its home.

    Args:
        config: The configuration, with the attempt's number; the attempt's folder exists.
        rungs: Rungs taken over from the checkpoint of an earlier attempt.
    """
    text = "".join(report.model_dump_json() + "\n" for report in rungs)
    for folder in (attempt_folder(home, config.attempt), home):
        # Not synced: an attempt that a power cut interrupts is repeated.
        config.write(folder / CONFIG, synced=False)
        write_text(folder / RUNGS, text, synced=False)


def add_rung(home: Path, report: RungReport) -> None:
    """Append one report to ``rungs.jsonl`` of the attempt and of its home."""
    line = report.model_dump_json() + "\n"
    for folder in (attempt_folder(home, report.attempt), home):
        with (folder / RUNGS).open("a", encoding="utf-8") as file:
            file.write(line)


def complete_result(home: Path, attempt: int) -> TrialResult | None:
    """The result of an attempt; None if it has none or was abandoned."""
    folder = attempt_folder(home, attempt)
    if read_end(folder) is not None:
        return None
    return TrialResult.read_or_none(folder / RESULT)


def promote(home: Path, attempt: int) -> TrialResult:
    """Copy the files of an attempt with a result into its home, and move its weights.

    It may be repeated after an interruption.
    """
    folder = attempt_folder(home, attempt)
    for name in (CONFIG, RUNGS, ITEM_LOSSES, MEASURE_ITEMS):
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            if not _has_text(home / name, text):
                write_text(home / name, text)
    if (folder / WEIGHTS).exists():
        if (home / WEIGHTS).exists():
            shutil.rmtree(home / WEIGHTS)
        (folder / WEIGHTS).rename(home / WEIGHTS)
    result = TrialResult.read(folder / RESULT)
    # Not synced: a damaged result is restored from the attempt's copy.
    result.write(home / RESULT, synced=False)
    return result


def _has_text(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8", errors="replace") == text


def fail(home: Path, number: int, attempt: int, failure: Failure) -> TrialResult:
    """Write the result of a trial or confirmation run whose attempts all failed."""
    folder = attempt_folder(home, attempt)
    rungs = RungReport.read_lines(folder / RUNGS)
    config = TrialConfig.read_or_none(folder / CONFIG) or TrialConfig.read_or_none(home / CONFIG)
    result = TrialResult(
        number=number,
        attempt=attempt,
        seed=config.seed if config else 0,
        state="FAIL",
        failure=failure,
        **so_far(rungs),
        ended_at=now(),
    )
    result.write(home / RESULT)
    return result


def note_end(
    attempt: Path, kind: AttemptEndKind, detail: str, *, worker: str = "", replace: bool = False
) -> AttemptEnd:
    """Note in an attempt's folder why it ended without a result.

    Args:
        replace: Whether to replace an earlier note; if not, it is returned.
    """
    earlier = read_end(attempt)
    if earlier is not None and not replace:
        return earlier
    end = AttemptEnd(kind=kind, detail=detail, worker=worker, ended_at=now())
    end.write(attempt / ENDED)
    return end


def read_end(attempt: Path) -> AttemptEnd | None:
    """The note of ``note_end``; None if there is none that can be read."""
    return AttemptEnd.read_or_none(attempt / ENDED)


def crashes(home: Path) -> list[AttemptEnd]:
    """The ends of the attempts that count as a crash, in order."""
    ends = (read_end(attempt_folder(home, number)) for number in attempts_of(home))
    return [end for end in ends if end is not None and end.kind in CRASHES]


def drop_weights(home: Path) -> None:
    """Delete the weights of a trial, and record it in its result."""
    with contextlib.suppress(UsageError):  # a damaged result is repaired when it is read next
        result = TrialResult.read(home / RESULT)
        result.model_copy(update={"weights": None}).write(home / RESULT, synced=False)
    shutil.rmtree(home / WEIGHTS, ignore_errors=True)


def drop_leftovers(attempt: Path) -> None:
    """Delete complete or partial weights of an attempt that will not become the trial's result."""
    for folder in list(attempt.rglob(WEIGHTS)):
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class ValidationItems:
    """Costs, scores and weights of the validation items, each of shape (items,).

    ``costs`` are minimised by the search. ``scores`` are the main metric, or the objective if it
    is not the loss. ``weights`` are the weights in the mean: 1, or the tokens of the answer, and 0
    for an item that was not scored.
    """

    costs: NDArray[np.float64]
    scores: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def scored(self) -> ValidationItems:
        """The items that were scored."""
        mask = self.weights > 0
        return ValidationItems(self.costs[mask], self.scores[mask], self.weights[mask])


def read_items(path: Path, objective: Objective) -> ValidationItems | None:
    """Costs and scores of the validation items; None if the file is missing or unusable."""
    try:
        fields = read_json_object(path)
        costs = np.asarray(fields["losses"], dtype=np.float64)
        scores = np.asarray(fields["scores"], dtype=np.float64)
        weights = np.asarray(fields["weights"], dtype=np.float64)
        if not objective.is_loss:
            scores = np.asarray(fields["objective"], dtype=np.float64)
            costs = np.asarray([objective.cost(score) for score in scores.tolist()])
            weights = (weights > 0).astype(np.float64)
    except (OSError, KeyError, TypeError, ValueError):
        return None
    shaped = costs.ndim == 1 and costs.size > 0 and costs.shape == scores.shape == weights.shape
    usable = shaped and bool(np.isfinite(costs).all() and np.isfinite(weights).all())
    return ValidationItems(costs, scores, weights) if usable and (weights > 0).any() else None
