"""The next attempt at a work item: its configuration, and the checkpoint from which it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweeper.execution.job import Job, WorkItem
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder, attempts_of
from sweeper.execution.state.reduced_batches import ReducedBatches
from sweeper.execution.state.run_state import RunState
from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Configuration, Plan, TrialBudget
from sweeper.runfolder import CONFIG
from sweeper.spec import Scalar
from sweeper.training.checkpoints import LONG_TRIAL_SECONDS, MANIFEST, Checkpoint, newest_checkpoint
from sweeper.trials import RungReport, TrialConfig


def next_attempt(state: RunState, batches: ReducedBatches, item: WorkItem) -> Job:
    """Create the next attempt's folder and return its job.

    Its batches are those that fitted into memory in earlier attempts.
    """
    run, home = state.run, state.run.path / item.home
    saved = _checkpoint(home) if item.kind in ("trial", "confirm") else None
    attempt = attempts.new_attempt(home)
    if item.trial is None:
        return Job.taken_from(item, attempt=attempt)
    if item.kind == "test":
        trained = work_items.training_scored_by(item).home
        config = batches.apply(TrialConfig.read(run.path / trained / CONFIG))
        config.write(attempt_folder(home, attempt) / CONFIG)
        return Job.taken_from(item, attempt=attempt, config=config, weights=trained)
    rungs: tuple[RungReport, ...] = ()
    checkpoint = None
    if saved is None:
        config = batches.apply(_config(state, item, attempt))
    else:
        # The checkpoint may contain a report that was not sent.
        reports = Checkpoint.read(saved / MANIFEST).reports
        rungs = tuple(report.model_copy(update={"attempt": attempt}) for report in reports)
        config = TrialConfig.read(saved.parent / CONFIG).model_copy(update={"attempt": attempt})
        checkpoint = str(saved.relative_to(run.path))
    attempts.begin(home, config, rungs)
    if item.kind == "trial":
        state.configs[item.trial] = config
    return Job.taken_from(item, attempt=attempt, config=config, checkpoint=checkpoint, rungs=rungs)


def _checkpoint(home: Path) -> Path | None:
    """The newest checkpoint of the interrupted attempts since the last one that failed, if any."""
    for number in reversed(attempts_of(home)):
        folder = attempt_folder(home, number)
        end = attempts.read_end(folder)
        if end is None or end.kind != "interrupted":
            return None
        newest = newest_checkpoint(folder)
        if newest is not None and TrialConfig.read_or_none(folder / CONFIG) is not None:
            return newest[0]
    return None


def _config(state: RunState, item: WorkItem, attempt: int) -> TrialConfig:
    """The configuration of an item that trains from the beginning."""
    assert item.trial is not None
    changes: dict[str, object] = {}
    if item.rows is not None:
        # Most trainings on other rows only serve their loss, so their weights are not kept.
        changes |= {"train_rows": item.rows, "keep_weights": item.keep_weights}
    if item.seed is not None:
        changes["seed"] = item.seed
    return configure(state.plan, state.configs[item.trial], attempt).model_copy(update=changes)


def configure(plan: Plan, trial: Configuration, attempt: int = 1) -> TrialConfig:
    """The configuration of one trial.

    All trials of a study train with the plan's seed, so that they see the same batches and differ
    only in their parameters; confirmation runs have other seeds.
    """
    candidate = plan.candidate(trial.strategy, trial.model)
    budget = trial_budget(plan, trial.parameters)
    seconds = candidate.duration.seconds * budget.epochs / plan.budget.epochs
    trial_fields = {name: getattr(trial, name) for name in Configuration.model_fields}
    return TrialConfig(
        **trial_fields,
        attempt=attempt,
        seed=plan.seed,
        task=plan.facts.task,
        budget=budget,
        setup=candidate.trial_setup(trial.parameters),
        keep_weights=True,
        train_rows=plan.budget.train_rows,
        checkpoints=seconds > LONG_TRIAL_SECONDS,
    )


def trial_budget(plan: Plan, parameters: Mapping[str, Scalar]) -> TrialBudget:
    """A trial's budget: the study's, reduced in proportion to the trial's epochs."""
    budget = plan.budget
    epochs = min(budget.epochs, float(parameters.get(EPOCHS, budget.epochs)))
    tokens = round(budget.full_tokens * epochs / budget.epochs)
    part = {"epochs": epochs, "full_tokens": tokens, "rungs": budget.rungs_of(parameters)}
    return TrialBudget.taken_from(budget, **part, rung_items=rung_items(plan))


def rung_items(plan: Plan) -> int:
    """Number of validation items scored at rungs before the last: the plan's number, or all.

    The first items of the split are scored.
    """
    splits = plan.facts.data.splits
    validation_items = next((split.rows for split in splits if split.name == "validation"), 0)
    return plan.budget.rung_items or max(1, validation_items)
