"""The work items of a run: made, and looked up in the run's files, which show what was done."""

from __future__ import annotations

from pathlib import Path

from sweeper.artifact import write_text
from sweeper.execution.job import WorkItem
from sweeper.execution.state import attempts, repair
from sweeper.execution.state.fitted_batches import after_kill
from sweeper.runfolder import CONFIG, RESULT, SCORE, RunFolder
from sweeper.trials import (
    AttemptEndKind,
    Failure,
    FailureKind,
    TestScore,
    TrialConfig,
    TrialResult,
)

# What a work item has failed of, by the end of its last attempt; a crash if it is not named here.
_FAILURES: dict[AttemptEndKind, FailureKind] = {
    "hang": "timeout",
    "error": "error",
    "damaged": "error",
}


BASELINES = WorkItem(kind="baselines", name="baselines")
_SCORED = "scored.txt"


def trial(number: int) -> WorkItem:
    """Train a trial of the search."""
    return WorkItem(kind="trial", name=f"trial-{number}", trial=number)


def confirm(number: int, seed: int) -> WorkItem:
    """Train a finalist again with another seed."""
    return WorkItem(kind="confirm", name=f"confirm-{number}-seed-{seed}", trial=number, seed=seed)


def point(number: int, rows: int, seed: int, *, keep: bool = False) -> WorkItem:
    """Train a trial again on so many rows."""
    name = f"trial-{number}-rows-{rows}-seed-{seed}"
    return WorkItem(kind="confirm", name=name, trial=number, seed=seed, rows=rows, keep=keep)


def scoring(number: int, seed: int | None = None) -> WorkItem:
    """Score a trial, or one of its confirmation runs, on the test split."""
    suffix = "" if seed is None else f"-seed-{seed}"
    return WorkItem(kind="test", name=f"trial-{number}{suffix}", trial=number, seed=seed)


def scoring_of_point(item: WorkItem) -> WorkItem:
    """Score a training on other rows, whose weights were kept, on the test split."""
    return item.model_copy(update={"kind": "test"})


def scored(item: WorkItem) -> WorkItem:
    """The trial or confirmation run whose weights a ``test`` item scores."""
    assert item.trial is not None
    if item.seed is None:
        return trial(item.trial)
    if item.rows is not None:
        return item.model_copy(update={"kind": "confirm"})
    return confirm(item.trial, item.seed)


def scoring_of(name: str) -> WorkItem:
    """Score a baseline on the test split."""
    return WorkItem(kind="test", name=name)


def score_file(run: RunFolder, item: WorkItem) -> Path:
    """The file with the score of a ``test`` item until ``test.json`` holds it."""
    return run.path / "scores" / f"{item.name}.json"


def note_baselines(run: RunFolder) -> None:
    """Note that all baselines were scored."""
    names = sorted(repair.baselines(run))
    write_text(run.path / BASELINES.home / _SCORED, "".join(f"{name}\n" for name in names))


def is_done(run: RunFolder, item: WorkItem) -> bool:
    """Whether the complete result of a work item exists."""
    if item.kind == "baselines":
        scored = run.path / item.home / _SCORED
        names = {name for name, baseline in repair.baselines(run).items() if baseline is not None}
        return scored.is_file() and set(scored.read_text(encoding="utf-8").split()) <= names
    if item.kind == "test":
        return TestScore.read_or_none(score_file(run, item)) is not None
    home = run.path / item.home
    return TrialResult.read_or_none(home / RESULT) is not None


def take(run: RunFolder, item: WorkItem, attempt: int) -> TrialResult | TestScore | None:
    """Accept the whole result of an attempt as that of its item; None if it has none."""
    home = run.path / item.home
    if item.kind == "test":
        score = TestScore.read_or_none(attempts.attempt_folder(home, attempt) / SCORE)
        if score is not None:
            score.write(score_file(run, item))
        return score
    whole = item.kind != "baselines" and attempts.whole_result(home, attempt) is not None
    return attempts.promote(home, attempt) if whole else None


def take_over(run: RunFolder, item: WorkItem) -> None:
    """Prepare a work item of an earlier call, so that it can go on or is done.

    A whole result that nobody took is taken; an attempt that broke off gets its end; a trial that
    is not tried again gets its result.
    """
    home = run.path / item.home
    last = max(attempts.attempts_of(home), default=None)
    if last is None or is_done(run, item) or take(run, item, last) is not None:
        return
    folder = attempts.attempt_folder(home, last)
    if (folder / RESULT).exists() and attempts.read_end(folder) is None:
        attempts.note_end(folder, "damaged", f"{RESULT} is damaged")
        attempts.drop_leftovers(folder)
    elif (end := attempts.read_end(folder)) is not None and end.kind == "refused":  # mended since?
        attempts.note_end(folder, "superseded", end.detail, worker=end.worker, instead=True)
    else:
        attempts.note_end(folder, "interrupted", "the run was stopped, or its command killed")
        attempts.drop_leftovers(folder)
        why = failure(run, item)
        if why is not None and item.trial is not None and item.kind != "test":
            attempts.fail(home, item.trial, last, why)


def failure(run: RunFolder, item: WorkItem) -> Failure | None:
    """Why a work item is not tried again, by the ends of its attempts; None if it is."""
    home = run.path / item.home
    last = attempts.attempt_folder(home, max(attempts.attempts_of(home), default=0))
    end, config = attempts.read_end(last), TrialConfig.read_or_none(last / CONFIG)
    if end is not None and end.kind == "out-of-memory" and config and after_kill(config) is None:
        return Failure(kind="out-of-memory", detail=end.detail)
    if end is not None and end.kind == "refused":
        return Failure(kind="refused", detail=end.detail)
    crashes = attempts.crashes(home)
    if len(crashes) < attempts.CRASHES_ALLOWED:
        return None
    return Failure(kind=_FAILURES.get(crashes[-1].kind, "crash"), detail=crashes[-1].detail)
