"""From an ended attempt to the study: what is told, in which order, and what a crash costs.

Files come first and the study last. A result that lies there while the trial still runs was
written by a process that died in between: it is told, not trained again.
"""

from __future__ import annotations

import math
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution import lessons, records
from sweeper.execution.claims import Claim, Queue, lease_of
from sweeper.execution.endings import kind_of, note_end, read_end
from sweeper.execution.events import now
from sweeper.execution.repair import readable
from sweeper.runfolder import RunFolder
from sweeper.search import ending
from sweeper.search.named import problem_of
from sweeper.search.study import CONSTRAINT, FAILURE, FORGETTING, GENERAL_LOSS, SECONDS
from sweeper.trials import Failure, FailureKind, TrialConfig, TrialResult

# Attempts that may end in a crash before the trial itself is held to be the cause.
CRASHES_ALLOWED = 3

_STATES = {
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAIL": TrialState.FAIL,
}


def note(queue: Queue, trial_id: int, result: TrialResult, config: TrialConfig | None) -> None:
    """Leave on the trial what others must know of it beside its value."""
    backend = queue.storage.optuna
    seconds = result.training_seconds + result.evaluation_seconds + result.setup_seconds
    backend.set_trial_user_attr(trial_id, SECONDS, seconds)
    if result.failure is not None:
        backend.set_trial_user_attr(trial_id, FAILURE, result.failure.kind)
    if (points := result.forgetting_points) is not None:
        backend.set_trial_user_attr(trial_id, GENERAL_LOSS, result.general_loss)
        backend.set_trial_user_attr(trial_id, FORGETTING, points)
        limit = config.forgetting_limit if config is not None else None
        if limit is not None:
            backend.set_trial_system_attr(trial_id, CONSTRAINT, points / 100 - limit)
    learned = lessons.lesson(config, result) if config is not None else None
    if learned is not None:
        backend.set_trial_user_attr(trial_id, lessons.FITTED, lessons.attribute(learned))


def tell(
    claim: Claim,
    result: TrialResult,
    last_loss: float | None,
    config: TrialConfig | None = None,
) -> bool:
    """Tell the study how a trial ended. False if the trial was lost to another worker."""
    if not claim.held():
        return False
    note(claim.queue, claim.trial_id, result, config)
    state, value = _STATES[result.state], _value(result, last_loss)
    study, trial = claim.queue.study, claim.queue.storage.optuna.get_trial(claim.trial_id)
    study.sampler.after_trial(study, trial, state, None if value is None else [value])
    ended, problem = claim.finish(state, value), problem_of(study.sampler)
    if ended and problem is not None:
        ending.look(study, problem)  # before this worker claims another one
    return ended


def _value(result: TrialResult, last_loss: float | None) -> float | None:
    if result.state == "COMPLETE":
        return result.validation_loss
    known = result.state == "PRUNED" and last_loss is not None and math.isfinite(last_loss)
    return last_loss if known else None


def recover(
    queue: Queue,
    run: RunFolder,
    trial: FrozenTrial,
    *,
    crashed: bool,
    why: str,
    starved: bool = False,
) -> bool:
    """Bring a running trial, whose holder is gone, to where it can go on.

    Args:
        queue: The queue of trials.
        run: Where the trial's files are.
        trial: As the storage has it.
        crashed: Whether the holder crashed (it counts) or was stopped.
        why: How the holder ended, for the record.
        starved: The system killed the holder for its memory: the next attempt takes less, and
            nothing counts as a crash.

    Returns:
        Whether the trial has ended by this; else it waits again.
    """
    target = run.trial(trial.number)
    attempt = run.attempt(trial.number, lease_of(trial).attempt)
    if readable(TrialResult, attempt / records.RESULT) is not None:
        result = records.promote(target, attempt)
        return _end(queue, run, trial, result)
    if (attempt / records.RESULT).exists():
        why = f"{records.RESULT} is damaged ({why})"
        note_end(attempt, "damaged", why, worker=lease_of(trial).owner, instead=True)
    elif lease_of(trial).owner:
        note_end(attempt, kind_of(crashed, starved), why, worker=lease_of(trial).owner)
    records.drop_leftovers(attempt)
    config = readable(TrialConfig, attempt / records.CONFIG) if starved else None
    if config is not None:
        return _starved(queue, run, trial, config, why)
    if crashed and lease_of(trial).crashes + 1 >= CRASHES_ALLOWED:
        result = crashed_result(target, trial, *_failure(attempt, why))
        records.end_attempt(target, attempt, result)
        return _end(queue, run, trial, result)
    queue.take_back(trial, crashed=crashed)
    return False


def _starved(
    queue: Queue, run: RunFolder, trial: FrozenTrial, config: TrialConfig, why: str
) -> bool:
    learned = lessons.after_kill(config)
    if learned is not None:
        attributes = {lessons.FITTED: lessons.attribute(learned)}
        queue.take_back(trial, crashed=False, user_attrs=attributes)
        return False
    target = run.trial(trial.number)
    result = crashed_result(target, trial, "out-of-memory", why)
    records.end_attempt(target, run.attempt(trial.number, config.attempt), result)
    return _end(queue, run, trial, result)


def _failure(attempt: Path, why: str) -> tuple[FailureKind, str]:
    end = read_end(attempt)
    if end is not None and end.kind == "hang":
        return "timeout", end.detail
    return "crash", end.detail if end is not None else why


def _end(queue: Queue, run: RunFolder, trial: FrozenTrial, result: TrialResult) -> bool:
    losses = trial.intermediate_values
    last = losses[max(losses)] if losses else None
    config = readable(TrialConfig, run.attempt(trial.number, result.attempt) / records.CONFIG)

    def end() -> bool:
        with queue.storage.exclusive(trial._trial_id):
            if not queue.is_as_seen(trial):
                return False
            note(queue, trial._trial_id, result, config)
            return queue.finish(trial._trial_id, _STATES[result.state], _value(result, last))

    return queue.patience.call(end)


def crashed_result(target: Path, trial: FrozenTrial, kind: str, why: str) -> TrialResult:
    """The result of a trial whose attempts all broke down."""
    rungs = records.read_rungs(target)
    config = readable(TrialConfig, target / records.CONFIG)
    return TrialResult(
        number=trial.number,
        attempt=lease_of(trial).attempt,
        seed=config.seed if config else 0,
        state="FAIL",
        failure=Failure.model_validate({"kind": kind, "detail": why}),
        optimizer_steps=rungs[-1].optimizer_steps if rungs else 0,
        tokens=rungs[-1].tokens if rungs else 0,
        training_seconds=rungs[-1].training_seconds if rungs else 0.0,
        evaluation_seconds=rungs[-1].evaluation_seconds if rungs else 0.0,
        ended_at=now(),
    )
