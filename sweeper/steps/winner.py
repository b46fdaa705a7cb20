"""The winner of a run: its number, its weights, and the configuration that gave them."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeper.errors import UsageError
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings
from sweeper.runfolder import WEIGHTS, RunFolder
from sweeper.trials import TrialConfig, TrialResult


def best_trial(findings: Findings, fix: str = "") -> int:
    """The recommended trial, or the one that the verdict names as the best so far.

    Args:
        fix: What to do where there is none; to list its trials by default.

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
    """The folder with the weights of a trial, or of the recommended one.

    Raises:
        UsageError: No trial has completed, or that one kept no weights.
    """
    fix = f"To go on with it: sweeper run {run.quoted}/sweep.yaml"
    number = best_trial(compute(run), fix) if trial is None else trial
    of_part = run.trial(number) / WEIGHTS
    # After a search on a part of the rows, the winner that was trained on all of them.
    on_all = sorted(run.trial(number).glob(f"all-rows/*/*/{WEIGHTS}")) if trial is None else []
    weights = next(iter(on_all), of_part)
    if not (weights / "sweeper.json").is_file():
        raise UsageError(
            f"trial {number} has no weights",
            why="Only the best completed trials keep them.",
            fix=f"'sweeper report {run.quoted}' lists the trials that completed.",
            where=str(weights),
            code="no-weights",
        )
    return weights


def as_trained(run: RunFolder, number: int) -> TrialConfig:
    """A trial's configuration, with the number of epochs that gave its kept weights.

    It trains on one device to its last step: validation no longer chooses between rungs. A long
    training saves checkpoints at rungs, as the trial did.

    Raises:
        UsageError: The trial has not completed.
    """
    config = TrialConfig.read_or_none(run.trial(number) / "config.json")
    result = TrialResult.read_or_none(run.trial(number) / "result.json")
    if config is None or result is None or result.state != "COMPLETE":
        raise UsageError(
            f"trial {number} has not completed",
            fix=f"'sweeper report {run.quoted}' lists the trials that completed.",
            where=str(run.path),
        )
    budget = config.budget
    rungs = result.best_rung or budget.rungs
    share = rungs / budget.rungs
    once = {
        "rungs": rungs,
        "choose_rung": False,
        "stop_overfitting": False,
        "epochs": budget.epochs * share,
        "full_tokens": round(budget.full_tokens * share),
    }
    return config.model_copy(
        update={
            "attempt": 1,
            "budget": budget.model_copy(update=once),
            "gradient_accumulation_steps": config.gradient_accumulation_steps * config.gpus,
            "gpus": 1,
            "keep_weights": True,
            "train_rows": None,
        }
    )
