"""The work items of a run: makes them, and finds in the run's files which are done."""

from __future__ import annotations

from pathlib import Path

from sweeper.execution.job import WorkItem
from sweeper.execution.state import attempts, repair
from sweeper.execution.state.reduced_batches import smaller_batches
from sweeper.runfolder import CONFIG, RESULT, SCORE, RunFolder
from sweeper.textfiles import write_text
from sweeper.trials import (
    AttemptEndKind,
    Failure,
    FailureKind,
    TestScore,
    TrialConfig,
    TrialResult,
)

# Kind of failure by the end of an item's last attempt; all other ends mean ``crash``.
_FAILURES: dict[AttemptEndKind, FailureKind] = {
    "hang": "timeout",
    "error": "error",
    "damaged": "error",
}


BASELINES = WorkItem(kind="baselines", name="baselines")
_SCORED_FILE = "scored.txt"


def trial(number: int) -> WorkItem:
    """The item that trains a trial of the search."""
    return WorkItem(kind="trial", name=f"trial-{number}", trial=number)


def confirm(number: int, seed: int) -> WorkItem:
    """The item that trains a finalist again with another seed."""
    return WorkItem(kind="confirm", name=f"confirm-{number}-seed-{seed}", trial=number, seed=seed)


def training_on_rows(number: int, rows: int, seed: int, *, keep_weights: bool = False) -> WorkItem:
    """The item that trains a trial again on another number of rows, and may keep its weights."""
    name = f"trial-{number}-rows-{rows}-seed-{seed}"
    return WorkItem(
        kind="confirm", name=name, trial=number, seed=seed, rows=rows, keep_weights=keep_weights
    )


def score_trial(number: int, seed: int | None = None) -> WorkItem:
    """The item that scores a trial, or one of its confirmation runs, on the test split."""
    suffix = "" if seed is None else f"-seed-{seed}"
    return WorkItem(kind="test", name=f"trial-{number}{suffix}", trial=number, seed=seed)


def score_training(item: WorkItem) -> WorkItem:
    """The item that scores a training on another number of rows on the test split."""
    return item.model_copy(update={"kind": "test"})


def training_scored_by(item: WorkItem) -> WorkItem:
    """The item that trained the weights that a ``test`` item scores."""
    assert item.trial is not None
    if item.seed is None:
        return trial(item.trial)
    if item.rows is not None:
        return item.model_copy(update={"kind": "confirm"})
    return confirm(item.trial, item.seed)


def score_baseline(name: str) -> WorkItem:
    """The item that scores a baseline on the test split."""
    return WorkItem(kind="test", name=name)


def score_file(run: RunFolder, item: WorkItem) -> Path:
    """The file with the score of a ``test`` item until it is in ``test.json``."""
    return run.path / "scores" / f"{item.name}.json"


def note_baselines(run: RunFolder) -> None:
    """Store the names of the scored baselines, which marks the item as done."""
    names = sorted(repair.baselines(run))
    write_text(run.path / BASELINES.home / _SCORED_FILE, "".join(f"{name}\n" for name in names))


def is_done(run: RunFolder, item: WorkItem) -> bool:
    """Whether the complete result of a work item exists."""
    if item.kind == "baselines":
        scored = run.path / item.home / _SCORED_FILE
        names = {name for name, baseline in repair.baselines(run).items() if baseline is not None}
        return scored.is_file() and set(scored.read_text(encoding="utf-8").split()) <= names
    if item.kind == "test":
        return TestScore.read_or_none(score_file(run, item)) is not None
    home = run.path / item.home
    return TrialResult.read_or_none(home / RESULT) is not None


def accept_result(run: RunFolder, item: WorkItem, attempt: int) -> TrialResult | TestScore | None:
    """Make an attempt's result the result of its item; None if it is not complete."""
    home = run.path / item.home
    if item.kind == "test":
        score = TestScore.read_or_none(attempts.attempt_folder(home, attempt) / SCORE)
        if score is not None:
            score.write(score_file(run, item))
        return score
    is_complete = item.kind != "baselines" and attempts.complete_result(home, attempt) is not None
    return attempts.promote(home, attempt) if is_complete else None


def end_open_attempt(run: RunFolder, item: WorkItem) -> None:
    """End the last attempt of an earlier command at a work item, if that command did not.

    A complete result is accepted. Otherwise the attempt gets a record of how it ended, and a trial
    that is not tried again gets a failed result.
    """
    home = run.path / item.home
    last = max(attempts.attempts_of(home), default=None)
    if last is None or is_done(run, item) or accept_result(run, item, last) is not None:
        return
    folder = attempts.attempt_folder(home, last)
    if (folder / RESULT).exists() and attempts.read_end(folder) is None:
        attempts.note_end(folder, "damaged", f"{RESULT} is damaged")
        attempts.drop_leftovers(folder)
    elif (end := attempts.read_end(folder)) is not None and end.kind == "refused":
        # The cause of the refusal may be fixed by now: try again.
        attempts.note_end(folder, "superseded", end.detail, worker=end.worker, replace=True)
    else:
        attempts.note_end(folder, "interrupted", "the run was stopped, or its command killed")
        attempts.drop_leftovers(folder)
        why = failure(run, item)
        if why is not None and item.trial is not None and item.kind != "test":
            attempts.fail(home, item.trial, last, why)


def failure(run: RunFolder, item: WorkItem) -> Failure | None:
    """Why a work item is not tried again, by how its attempts ended; None if it is tried again."""
    home = run.path / item.home
    last = attempts.attempt_folder(home, max(attempts.attempts_of(home), default=0))
    end, config = attempts.read_end(last), TrialConfig.read_or_none(last / CONFIG)
    if end and end.kind == "out-of-memory" and config and smaller_batches(config) is None:
        return Failure(kind="out-of-memory", detail=end.detail)
    if end is not None and end.kind == "refused":
        return Failure(kind="refused", detail=end.detail)
    crashes = attempts.crashes(home)
    if len(crashes) < attempts.CRASHES_ALLOWED:
        return None
    return Failure(kind=_FAILURES.get(crashes[-1].kind, "crash"), detail=crashes[-1].detail)
