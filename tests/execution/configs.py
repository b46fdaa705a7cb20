"""Configurations of trials of a plan."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.next_attempt import configure
from sweeper.objective import limits_of
from sweeper.plans import Candidate, Configuration, Origin, Plan
from sweeper.runfolder import CONFIG, RESULT, RUNGS, RunFolder
from sweeper.search.search import Search
from sweeper.specfile import resolve
from sweeper.trials import RungReport, TrialConfig, TrialResult


def config_of(
    plan: Plan,
    candidate: Candidate,
    parameters: dict[str, Any],
    *,
    number: int,
    attempt: int,
    origin: Origin,
) -> TrialConfig:
    """The configuration of a trial of a candidate."""
    trial = Configuration(
        number=number, strategy=candidate.strategy, model=candidate.model, parameters=parameters,
        origin=origin,
    )  # fmt: skip
    return configure(plan, trial, attempt)


def trials_of(run: RunFolder) -> list[FrozenTrial]:
    """The study as the run's files have it; a trial that has not ended waits."""
    limits = limits_of(resolve({}, run.spec)) if run.spec.exists() else ()
    search = Search(Plan.read(run.plan), limits=limits)
    number = 0
    while (config := TrialConfig.read_or_none(run.trial(number) / CONFIG)) is not None:
        result = TrialResult.read_or_none(run.trial(number) / RESULT)
        search.restore(config, RungReport.read_lines(run.trial(number) / RUNGS), result)
        if result is None:
            search.study.get_trials(deepcopy=False)[number].state = TrialState.WAITING
        number += 1
    return search.study.trials
