"""A row for each trial in any state, with finite numbers, or None with the reason."""

from __future__ import annotations

import math

from sweeper.findings import words
from sweeper.findings.findings import TrialRow
from sweeper.findings.study.reading import TrialFiles
from sweeper.redaction import clean
from sweeper.trials import Failure, RungReport, TrialResult

# Most characters of an error in a table; the log in the run folder has the whole text.
MAX_DETAIL_CHARACTERS = 500


def trial_row(trial: TrialFiles, *, running: bool) -> TrialRow:
    """The row of one trial.

    Args:
        running: Whether the sweep is running, so that a trial without a result still trains.
    """
    config, result = trial.config, trial.result
    state = result.state if result else "RUNNING" if running else "WAITING"
    failure = result.failure if result else None
    if trial.unreadable:
        state = "FAIL"
        failure = Failure(kind="error", detail=f"{trial.unreadable} is damaged and was not read")
    return TrialRow.taken_from(
        result,
        number=config.number,
        strategy=config.strategy,
        model=config.model,
        origin=config.origin,
        state=state,
        parameters={name: config.parameters[name] for name in sorted(config.parameters)},
        validation_loss=finite_value(result.validation_loss)
        if result and trial.completed
        else None,
        objective=trial.value if trial.completed else None,
        loss_note=_loss_note(trial, state, failure),
        metrics=finite(result.metrics) if result else {},
        failure=failure
        and failure.model_copy(update={"detail": clean(failure.detail)[:MAX_DETAIL_CHARACTERS]}),
        attempts=trial.attempts,
        ended_attempts=tuple(
            f"{number}: {end.kind} ({clean(end.detail)[:MAX_DETAIL_CHARACTERS]})"
            for number, end in trial.ended
        ),
        micro_batch=(result.micro_batch if result else None) or config.setup.micro_batch,
        memory_note=memory_note(trial),
        tokens=result.tokens if result else trial.rungs[-1].tokens if trial.rungs else 0,
        seconds=trial_seconds(trial),
        peak_memory_gib=finite_value(result.peak_memory_gib) if result else None,
        weights=f"trials/{config.number}/weights" if trial.weights else None,
        validation_by_source=finite(result.validation_by_source) if result else {},
        rungs=tuple(_rung(rung) for rung in trial.rungs if math.isfinite(rung.validation_loss)),
    )


def memory_note(trial: TrialFiles) -> str:
    """The change of batches after running out of memory; empty if there was none."""
    config, result = trial.config, trial.result
    tried = [config.memory_note] if config.memory_note else []
    if result is not None:
        for name, now, then in (
            ("micro-batch", result.micro_batch, config.setup.micro_batch),
            ("evaluation batch", result.evaluation_batch, config.setup.evaluation_batch),
        ):
            if now is not None and now < then:
                tried.append(f"memory ran out at {name} {then}, tried again down to {now}")
    return "; ".join(tried)


def is_full(trial: TrialFiles, rungs: int) -> bool:
    """Whether a trial completed a full budget of ``rungs`` rungs: not if it is shorter or
    overfitted."""
    return trial.completed and bool(trial.rungs) and trial.rungs[-1].rung >= rungs


def trial_seconds(trial: TrialFiles) -> float | None:
    """Seconds of a trial with its set-up; of an unfinished trial, until its last rung."""
    if trial.result is not None:
        return result_seconds(trial.result)
    if trial.rungs:
        last = trial.rungs[-1]
        return finite_value(last.seconds)
    return None


def result_seconds(result: TrialResult) -> float:
    """Seconds of one training with evaluations, set-up, and a base that it made."""
    return finite_value(result.seconds + result.preparing_seconds) or 0.0


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics with finite values, in the order of their names."""
    return {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)}


def finite_value(value: float | None) -> float | None:
    """The value, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _rung(report: RungReport) -> RungReport:
    update = {"first_items": None, "train_loss": finite_value(report.train_loss)}
    return report.model_copy(update=update)


def _loss_note(trial: TrialFiles, state: str, failure: Failure | None) -> str:
    if trial.completed:
        return ""
    if state == "PRUNED":
        rung = trial.result.pruned_at_rung if trial.result else None
        at = f" at rung {rung} of {trial.config.budget.rungs}" if rung is not None else ""
        return f"pruned{at}: no final loss"
    if state == "FAIL":
        return words.failure(failure.kind) if failure else "failed"
    if state == "COMPLETE":
        return "the loss was not a finite number"
    return "still training" if state == "RUNNING" else "interrupted, to be continued"
