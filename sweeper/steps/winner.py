"""The winner of a run: its number, its weights, and its configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeper.errors import UsageError
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings
from sweeper.runfolder import CONFIG, RESULT, WEIGHTS, RunFolder
from sweeper.trials import TrialConfig, TrialResult


def best_trial(findings: Findings, fix: str = "") -> int:
    """The recommended trial, or the best trial so far.

    Args:
        fix: What the error advises; by default, to list the trials.

    Raises:
        UsageError: No trial has completed.
    """
    number = findings.verdict.best_trial
    if number is None:
        run = findings.run.place
        fix = fix or f"'sweeper report {shlex.quote(run)}' lists its trials."
        raise UsageError("this run has no completed trial", fix=fix, where=run)
    return number


def kept_weights(run: RunFolder, trial: int | None = None) -> Path:
    """The folder with the weights of a trial, or of the winner if ``trial`` is None.

    The winner's are those of its training on all rows, if the search used only a part of them.

    Raises:
        UsageError: No trial has completed, or the trial has no weights.
    """
    fix = f"Continue it with: sweeper run {run.quoted}/sweep.yaml"
    number = best_trial(compute(run), fix) if trial is None else trial
    trial_weights = run.trial(number) / WEIGHTS
    full_weights = (
        sorted(run.trial(number).glob(f"all-rows/*/*/{WEIGHTS}")) if trial is None else []
    )
    weights = next(iter(full_weights), trial_weights)
    if not (weights / "sweeper.json").is_file():
        raise UsageError(
            f"trial {number} has no weights",
            why="Only the best completed trials keep them.",
            fix=f"'sweeper report {run.quoted}' lists the trials that completed.",
            where=str(weights),
            code="no-weights",
        )
    return weights


def refit_config(run: RunFolder, number: int) -> TrialConfig:
    """A trial's configuration for another training, with the epochs of its best rung.

    It trains on one device to its last step, without choosing a rung by validation. A long
    training saves checkpoints at rungs, as the trial did.

    Raises:
        UsageError: The trial has not completed.
    """
    config = TrialConfig.read_or_none(run.trial(number) / CONFIG)
    result = TrialResult.read_or_none(run.trial(number) / RESULT)
    if config is None or result is None or result.state != "COMPLETE":
        raise UsageError(
            f"trial {number} has not completed",
            fix=f"'sweeper report {run.quoted}' lists the trials that completed.",
            where=str(run.path),
        )
    budget = config.budget
    rungs = result.best_rung or budget.rungs
    share = rungs / budget.rungs
    budget_changes = {
        "rungs": rungs,
        "choose_rung": False,
        "stop_overfitting": False,
        "epochs": budget.epochs * share,
        "full_tokens": round(budget.full_tokens * share),
    }
    steps = config.setup.gradient_accumulation_steps * config.setup.gpus
    budget = budget.model_copy(update=budget_changes)
    changes = {"attempt": 1, "budget": budget, "keep_weights": True, "train_rows": None}
    return config.with_setup(gradient_accumulation_steps=steps, gpus=1).model_copy(update=changes)
