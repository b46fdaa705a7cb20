"""Figures and notes of one trial in any state; figures that are not finite are None."""

from __future__ import annotations

import math

from sweeper.findings import words
from sweeper.trials import Trial


def memory_note(trial: Trial) -> str:
    """The change of batches after running out of memory; empty if there was none."""
    config, result = trial.config, trial.result
    tried = [config.memory_note] if config.memory_note else []
    for name, used, planned in (
        ("micro-batch", result.micro_batch, config.setup.micro_batch),
        ("evaluation batch", result.evaluation_batch, config.setup.evaluation_batch),
    ):
        if used is not None and used < planned:
            tried.append(f"memory ran out at {name} {planned}, tried again down to {used}")
    return "; ".join(tried)


def loss_note(trial: Trial) -> str:
    """Why a trial has no validation loss; empty if it has one."""
    state, rung, failure = trial.result.state, trial.result.pruned_at_rung, trial.result.failure
    place = f" at rung {rung} of {trial.config.budget.rungs}" if rung is not None else ""
    return {
        "COMPLETE": "" if trial.completed else "the loss was not a finite number",
        "PRUNED": f"pruned{place}: no final loss",
        "FAIL": words.failure(failure.kind) if failure else "failed",
        "RUNNING": "still training",
        "WAITING": "interrupted, to be continued",
    }[state]


def is_full(trial: Trial, rungs: int) -> bool:
    """Whether a trial completed a full budget of ``rungs`` rungs: not if it is shorter or
    overfitted."""
    return trial.completed and bool(trial.rungs) and trial.rungs[-1].rung >= rungs


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics with finite values, in the order of their names."""
    return {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)}


def finite_value(value: float | None) -> float | None:
    """The value, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None
