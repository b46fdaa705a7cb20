"""How long a run still takes: the plan's estimate, corrected by the trials that have ended.

Knows the plan and results; knows nothing of workers or of what runs right now.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweeper.execution.status import Eta, Phase
from sweeper.plan import Plan
from sweeper.trials import TrialConfig, TrialResult

# Before two trials have ended there is nothing to correct the plan with.
FEWEST = 2


@dataclass(frozen=True)
class Pace:
    """How the ended trials went.

    Args:
        factor: Their seconds over those that the plan gives for as much of a budget.
        error: Standard error of the factor's logarithm.
        trial: Seconds of one trial, pruned ones among them.
        trial_error: Standard error of that.
    """

    factor: float
    error: float
    trial: float
    trial_error: float


def pace(
    plan: Plan, results: Mapping[int, TrialResult], configs: Mapping[int, TrialConfig]
) -> Pace | None:
    """What the ended trials tell; None until two have.

    A frozen model's trial is left out: its features were made for a baseline.
    """
    factors, seconds = [], []
    for number, result in results.items():
        config = configs.get(number)
        if result.state == "FAIL" or config is None or not result.optimizer_steps:
            continue
        took = result.training_seconds + result.evaluation_seconds
        planned = _planned(plan, config, result)
        if took > 0 and planned > 0:
            factors.append(math.log(took / planned))
            seconds.append(took + result.setup_seconds)
    if len(factors) < FEWEST:
        return None
    root = math.sqrt(len(factors))
    return Pace(
        factor=math.exp(statistics.mean(factors)),
        error=statistics.stdev(factors) / root,
        trial=statistics.mean(seconds),
        trial_error=statistics.stdev(seconds) / root,
    )


def _planned(plan: Plan, config: TrialConfig, result: TrialResult) -> float:
    whole: Iterable[float] = (
        candidate.duration.seconds
        for candidate in plan.candidates
        if (candidate.strategy, candidate.model) == (config.strategy, config.model)
    )
    rung = result.pruned_at_rung or result.stopped_at_rung or config.budget.rungs
    share = config.budget.epochs / plan.budget.epochs * rung / config.budget.rungs
    return next(iter(whole), 0.0) * share


def remaining(
    plan: Plan,
    seen: Pace | None,
    *,
    phase: Phase,
    trials_left: float,
    jobs_left: int,
    workers: int,
) -> Eta | None:
    """Seconds until the run ends, confirmation and test included, within two standard errors.

    Args:
        plan: Frozen.
        seen: Of the trials that have ended.
        phase: That the run is in.
        trials_left: Of the search; half of each that runs.
        jobs_left: Confirmation runs or test scores that are not done.
        workers: That work side by side.
    """
    if seen is None or phase not in ("baselines", "search", "confirmation", "test"):
        return None
    least, most = (seen.factor * math.exp(sign * 2 * seen.error) for sign in (-1, 1))
    after = _after(plan, phase, jobs_left)
    left = trials_left / max(1, workers) if phase in ("baselines", "search") else 0.0
    return Eta(
        low=left * max(0.0, seen.trial - 2 * seen.trial_error) + least * after,
        high=left * (seen.trial + 2 * seen.trial_error) + most * after,
    )


def _after(plan: Plan, phase: Phase, jobs_left: int) -> float:
    """The plan's seconds of what comes after the search."""
    budget = plan.budget
    test = budget.beside.seconds if budget.beside is not None else 0.0
    runs = budget.finalists * max(budget.confirmation_seeds - 1, 0)
    models = budget.finalists * budget.confirmation_seeds + 1
    if phase == "test":
        return test * min(1.0, jobs_left / models)
    if phase == "confirmation":
        return budget.confirmation.seconds * min(1.0, jobs_left / max(runs, 1)) + test
    return budget.confirmation.seconds + test
