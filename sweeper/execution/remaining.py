"""The remaining time of a run: the plan's estimate, corrected by trials that ended.

Knows the plan and results; knows nothing of workers or of what runs right now.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweeper.data.splits import curve_seeds
from sweeper.execution.state.status import Eta, Phase
from sweeper.plans import Plan
from sweeper.trials import TrialConfig, TrialResult

# Before two trials have ended there is nothing to correct the plan with.
FEWEST = 2


@dataclass(frozen=True)
class Pace:
    """Times of ended trials against the plan's.

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


@dataclass(frozen=True)
class Took:
    """What one ended trial took.

    Args:
        log_factor: Logarithm of its seconds over those that the plan gives for as much of a budget.
        seconds: With what came before its first step.
    """

    log_factor: float
    seconds: float


def pace(
    plan: Plan,
    results: Mapping[int, TrialResult],
    configs: Mapping[int, TrialConfig],
    known: dict[int, Took | None] | None = None,
) -> Pace | None:
    """The pace of ended trials; None below two.

    A frozen model's trial is left out: its features were made for a baseline.

    Args:
        results: Results of the trials that have ended.
        configs: Configurations of all trials that have begun.
        known: What earlier calls worked out of each trial; takes what this one does.
    """
    known = {} if known is None else known
    for number, result in results.items():
        if number not in known and number in configs:
            known[number] = _took(plan, configs[number], result)
    trials = [one for one in known.values() if one is not None]
    if len(trials) < FEWEST:
        return None
    factor, error = _mean([one.log_factor for one in trials])
    trial, trial_error = _mean([one.seconds for one in trials])
    return Pace(math.exp(factor), error, trial, trial_error)


def _took(plan: Plan, config: TrialConfig, result: TrialResult) -> Took | None:
    if result.state == "FAIL" or not result.optimizer_steps:
        return None
    seconds = result.training_seconds + result.evaluation_seconds
    planned = _planned(plan, config, result)
    if seconds <= 0 or planned <= 0:
        return None
    return Took(math.log(seconds / planned), seconds + result.setup_seconds)


def _mean(numbers: Sequence[float]) -> tuple[float, float]:
    """With its standard error."""
    mean = statistics.fmean(numbers)
    squares = math.fsum((one - mean) ** 2 for one in numbers)
    return mean, math.sqrt(squares / (len(numbers) - 1) / len(numbers))


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
    """Seconds until the run ends, with confirmation, test and suite, within two standard errors.

    Args:
        seen: The pace of trials that have ended.
        phase: Phase that the run is in.
        trials_left: Trials left in the search; a running one counts half.
        jobs_left: Confirmation runs or test scores that are not done.
        workers: Workers that work side by side.
    """
    working = ("baselines", "search", "confirmation", "test", "data-curve")
    if seen is None or phase not in working:
        return None
    least, most = (seen.factor * math.exp(sign * 2 * seen.error) for sign in (-1, 1))
    after = _after(plan, phase, jobs_left)
    left = trials_left / max(1, workers) if phase in ("baselines", "search") else 0.0
    return Eta(
        low=left * max(0.0, seen.trial - 2 * seen.trial_error) + least * after,
        high=left * (seen.trial + 2 * seen.trial_error) + most * after,
    )


def _after(plan: Plan, phase: Phase, jobs_left: int) -> float:
    """The plan's seconds for the phases after the search."""
    budget = plan.budget
    test = budget.beside.seconds if budget.beside is not None else 0.0
    suite = budget.suite.seconds if budget.suite is not None else 0.0
    curve = budget.data_curve.seconds if budget.data_curve is not None else 0.0
    runs = budget.finalists * max(budget.confirmation_seeds - 1, 0)
    models = budget.finalists * budget.confirmation_seeds + 1
    if phase == "data-curve":
        trainings = 6 * curve_seeds(budget.confirmation_seeds)  # two trials at three sizes
        return curve * min(1.0, jobs_left / trainings) + suite
    suite += curve
    if phase == "test":
        return test * min(1.0, jobs_left / models) + suite
    if phase == "confirmation":
        return budget.confirmation.seconds * min(1.0, jobs_left / max(runs, 1)) + test + suite
    return budget.confirmation.seconds + test + suite
