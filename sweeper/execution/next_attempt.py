"""From a work item to the job of its next attempt; creates the attempt's files.

Knows configurations, batches that fitted and checkpoints; hands nothing out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.checkpoints import MANIFEST, Checkpoint, newest_checkpoint
from sweeper.execution.job import Job
from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import CONFIG, attempt_folder, attempts_of
from sweeper.execution.state.fitted_batches import FittedBatches
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.work_items import WorkItem
from sweeper.search import optuna_space
from sweeper.search.configure import configure
from sweeper.trials import RungReport, TrialConfig


@dataclass(frozen=True)
class NextAttempt:
    """A job, and the rungs that it takes over from an interrupted attempt."""

    job: Job
    rungs: tuple[RungReport, ...] = ()


@dataclass
class _Checkpoint:
    folder: Path
    rung: int
    attempt: Path


def next_attempt(state: RunState, fitted: FittedBatches, item: WorkItem) -> NextAttempt:
    """Begin the next attempt at a work item.

    Args:
        state: State of the run; takes a trial's configuration.
        item: Not done.
    """
    run, home = state.run, state.run.path / item.home
    found = _checkpoint(home) if item.kind in ("trial", "confirm") else None
    attempt = attempts.new_attempt(home)
    job = Job(kind=item.kind, name=item.name, home=item.home, attempt=attempt, trial=item.trial)
    if item.trial is None:
        return NextAttempt(job)
    if found is not None:
        config = TrialConfig.read(found.attempt / CONFIG)
        config = config.model_copy(update={"attempt": attempt})
    else:
        config = fitted.apply(_config(state, item, attempt))
    rungs = _carried(found, attempt) if found is not None else ()
    if item.kind == "test":
        config.write(attempt_folder(home, attempt) / CONFIG)
        weights = item.scored.home
        return NextAttempt(job.model_copy(update={"config": config, "weights": weights}))
    attempts.begin(home, config, rungs)
    if item.kind == "trial":
        state.configs[item.trial] = config
    checkpoint = str(found.folder.relative_to(run.path)) if found is not None else None
    return NextAttempt(job.model_copy(update={"config": config, "checkpoint": checkpoint}), rungs)


def _config(state: RunState, item: WorkItem, attempt: int) -> TrialConfig:
    assert item.trial is not None
    if item.kind == "test":
        return TrialConfig.read(state.run.path / item.scored.home / CONFIG)
    asked = state.asked[item.trial]
    config = configure(
        state.plan,
        optuna_space.candidates(state.plan)[asked.key],
        asked.parameters,
        number=item.trial,
        attempt=attempt,
        origin=asked.origin,
    )
    if item.rows is not None:  # only its loss is of use
        config = config.model_copy(update={"train_rows": item.rows, "keep_weights": False})
    return config if item.seed is None else config.model_copy(update={"seed": item.seed})


def _checkpoint(home: Path) -> _Checkpoint | None:
    """The last checkpoint of attempts that were interrupted, not failed."""
    for number in reversed(attempts_of(home)):
        folder = attempt_folder(home, number)
        end = attempts.read_end(folder)
        if end is None or end.kind != "interrupted":
            return None
        known = newest_checkpoint(folder)
        if known is not None and TrialConfig.read_or_none(folder / CONFIG) is not None:
            return _Checkpoint(known[0], known[1], folder)
    return None


def _carried(found: _Checkpoint, attempt: int) -> tuple[RungReport, ...]:
    # The checkpoint's own reports: it was written before the last of them was sent.
    reports = Checkpoint.read(found.folder / MANIFEST).reports
    return tuple(report.model_copy(update={"attempt": attempt}) for report in reports)
