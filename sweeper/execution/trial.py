"""One trial of the search, from the claim to what the study is told."""

from __future__ import annotations

from typing import cast

import optuna

from sweeper.execution import lessons, records
from sweeper.execution.attempt import Attempt, Breakdown, Interruption
from sweeper.execution.bench import Bench, WorkerUnsound
from sweeper.execution.claims import Claim
from sweeper.execution.disk import NoRoom
from sweeper.execution.settle import CRASHES_ALLOWED, crashed_result, tell
from sweeper.execution.slots import SLOT, default_slot
from sweeper.search import optuna_space
from sweeper.search.configure import configure
from sweeper.search.study import ORIGIN, OVERRIDES
from sweeper.trials import Origin, TrialConfig, TrialResult


def run_trial(bench: Bench, claim: Claim) -> None:
    """Train a claimed trial and tell the study.

    Raises:
        WorkerUnsound: Training raised; the trial is settled, but this process should end.
        NoRoom: The disk is full; the trial waits again.
    """
    config = suggest(bench, claim)
    bench.say(
        "trial-started",
        trial=config.number,
        attempt=config.attempt,
        strategy=config.strategy,
        parameters=config.parameters,
        rungs=config.budget.rungs,
    )
    try:
        outcome = Attempt(bench, claim, config, bench.run.trial(config.number)).run()
    except NoRoom:
        claim.put_back(crashed=False)
        raise
    if isinstance(outcome, Interruption):
        if not outcome.superseded:
            claim.put_back(crashed=False)
        bench.say("trial-put-back", trial=config.number, attempt=config.attempt)
    elif isinstance(outcome, Breakdown):
        _broke_down(bench, claim, config, outcome.detail)
    else:
        _ended(bench, claim, config, outcome)


def suggest(bench: Bench, claim: Claim) -> TrialConfig:
    """Ask the sampler; a trial that was claimed before keeps its parameters."""
    trial = optuna.Trial(claim.queue.study, claim.trial_id)
    key, parameters = optuna_space.suggest(trial, bench.plan, trial.user_attrs.get(OVERRIDES))
    candidate = optuna_space.candidates(bench.plan)[key]
    slot = default_slot(key, candidate)
    if trial.user_attrs.get(ORIGIN, "search") == "search" and trial.params == slot.fixed:
        # Too few trials for all defaults: the sampler begins with them, too.
        trial.set_user_attr(SLOT, slot.name)
        trial.set_user_attr(ORIGIN, slot.origin)
    config = configure(
        bench.plan,
        candidate,
        parameters,
        number=claim.number,
        attempt=claim.lease.attempt,
        origin=cast(Origin, trial.user_attrs.get(ORIGIN, "search")),
    )
    return lessons.apply(config, claim.queue.trials())


def _ended(bench: Bench, claim: Claim, config: TrialConfig, result: TrialResult) -> None:
    curve = records.read_rungs(bench.run.trial(config.number))
    told = tell(claim, result, curve[-1].validation_loss if curve else None, config)
    bench.say(
        "trial-ended" if told else "trial-put-back",
        trial=config.number,
        attempt=config.attempt,
        strategy=config.strategy,
        parameters=config.parameters,
        state=result.state,
        validation_loss=result.validation_loss if result.state == "COMPLETE" else None,
        rung=result.pruned_at_rung,
        seconds=result.training_seconds + result.evaluation_seconds,
        text=result.failure.detail if result.failure else result.pruned_because,
    )


def _broke_down(bench: Bench, claim: Claim, config: TrialConfig, detail: str) -> None:
    if claim.lease.crashes + 1 < CRASHES_ALLOWED:
        claim.put_back(crashed=True)
        bench.say("trial-put-back", trial=config.number, attempt=config.attempt, text=detail)
        raise WorkerUnsound(detail)
    trial = claim.queue.storage.optuna.get_trial(claim.trial_id)
    target = bench.run.trial(config.number)
    result = crashed_result(target, trial, "error", detail)
    records.end_attempt(target, bench.run.attempt(config.number, config.attempt), result)
    _ended(bench, claim, config, result)
    raise WorkerUnsound(detail)
