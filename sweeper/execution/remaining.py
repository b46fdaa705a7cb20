"""The remaining time of a run, from trials that ended and what the plan says of the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweeper import units
from sweeper.data.splits import curve_seeds
from sweeper.execution.state.status import Eta, Phase
from sweeper.execution.state.work_items import WorkItem
from sweeper.plans import Budget, Plan
from sweeper.trials import TrialConfig, TrialResult

# Before two trials have ended there is nothing to correct the plan with.
FEWEST = 2
# In two sweeps confirmation and test took up to a fifth less or more than the search foretold.
_LEAST_ERROR = 0.1


@dataclass(frozen=True)
class Pace:
    """Times of ended trials against the plan's.

    Args:
        factor: Their seconds over those that the plan gives for as much of a budget.
        error: Standard error of the factor's logarithm.
        trial: Seconds of one trial of the search, pruned ones among them.
        spread: Standard deviation of that.
        trials: How many of them have been seen.
        apart: Standard deviation of the seconds of all ended trials.
    """

    factor: float
    error: float
    trial: float
    spread: float
    trials: int
    apart: float


@dataclass(frozen=True)
class Took:
    """What one ended trial took.

    Args:
        log_factor: Logarithm of its seconds over those that the plan gives for as much of a budget.
        seconds: With what came before its first step.
        default: It is one of the rule book's, which are never pruned.
    """

    log_factor: float
    seconds: float
    default: bool


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
    factor, deviation = _mean([one.log_factor for one in trials])
    error = deviation / math.sqrt(len(trials))
    searched = [one.seconds for one in trials if not one.default]
    if len(searched) < FEWEST:
        searched = [one.seconds for one in trials]
    trial, spread = _mean(searched)
    apart = _mean([one.seconds for one in trials])[1]
    return Pace(math.exp(factor), error, trial, spread, len(searched), apart)


def _took(plan: Plan, config: TrialConfig, result: TrialResult) -> Took | None:
    if result.state == "FAIL" or not result.optimizer_steps:
        return None
    seconds = result.training_seconds + result.evaluation_seconds
    planned = _planned(plan, config, result)
    if seconds <= 0 or planned <= 0:
        return None
    whole = seconds + result.setup_seconds
    return Took(math.log(seconds / planned), whole, config.origin == "default")


def _mean(numbers: Sequence[float]) -> tuple[float, float]:
    """With its standard deviation."""
    return statistics.fmean(numbers), statistics.stdev(numbers)


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
    again: float,
) -> Eta | None:
    """Seconds until the run ends, with confirmation, test and suite, within two standard errors.

    Args:
        seen: The pace of trials that have ended.
        phase: Phase that the run is in.
        trials_left: Trials left in the search; a running one counts half.
        jobs_left: Confirmation runs or test scores that are not done.
        workers: Workers that work side by side.
        again: Seconds of one training of those that are confirmed, on average.
    """
    working = ("baselines", "search", "confirmation", "test", "data-curve")
    if seen is None or phase not in working:
        return None
    budget, searching = plan.budget, phase in ("baselines", "search")
    left = trials_left if searching else 0.0
    runs = budget.finalists * max(budget.confirmation_seeds - 1, 0)
    runs = runs if searching else min(runs, jobs_left) if phase == "confirmation" else 0
    # The mean of those that are left differs from the mean of those that were seen.
    apart = 2 * seen.spread * math.sqrt(1 / seen.trials + 1 / max(left, 1.0))
    off, side_by_side = math.exp(2 * max(seen.error, _LEAST_ERROR)), max(1, workers)
    low, high = (left * max(0.0, seen.trial + sign * apart) / side_by_side for sign in (-1, 1))
    # The finalists may be trials that are still to come, and that end earlier or later.
    share = left / (left + seen.trials)
    unsure = 2 * seen.apart * math.sqrt(share / max(budget.finalists, 1))
    least, most = (runs * max(0.0, again + sign * unsure) / side_by_side for sign in (-1, 1))
    later = seen.factor * _after(budget, phase, jobs_left)
    return Eta(low=low + (least + later) / off, high=high + (most + later) * off)


def curve_seconds(
    work: Iterable[WorkItem],
    results: Mapping[int, TrialResult],
    configs: Mapping[int, TrialConfig],
    rows: int,
    workers: int,
) -> float:
    """Upper end of the forecast of a data curve, from the trials that it repeats on fewer rows.

    Args:
        rows: All training rows.
        workers: Workers that work side by side.
    """
    seconds = 0.0
    for item in work:
        assert item.trial is not None
        result, config = results[item.trial], configs[item.trial]
        # One that overfitted later, or not at all, on fewer rows is not stopped as early.
        whole = config.budget.rungs / (result.stopped_at_rung or config.budget.rungs)
        share = (item.rows or rows) / rows
        seconds += result.setup_seconds + result.evaluation_seconds * whole
        seconds += result.training_seconds * whole * share
    return seconds / max(1, workers) * math.exp(2 * _LEAST_ERROR)


def offered_curve(budget: Budget, most: float, left: Mapping[str, float]) -> tuple[bool, str]:
    """Whether a data curve that was not asked for is made, and why, in words.

    Args:
        most: Seconds that it takes at most.
        left: Seconds that are left, by what limits them in words.
    """
    if budget.limit_seconds is None and budget.data_curve is None:
        told = f"it would take up to {units.duration(most)}, which is not cheap beside the search"
        return False, f"no data curve was made: {told}"
    limit, seconds = min(left.items(), key=lambda one: one[1])
    told = f"{units.duration(max(seconds, 0.0))} were left {limit}"
    if seconds < most:
        return False, f"no data curve was made: {told}, and it takes up to {units.duration(most)}"
    if budget.limit_seconds is None:
        return True, "a data curve was made, as planned: it is cheap beside the search"
    return True, f"a data curve was made: {told}, and it takes at most {units.duration(most)}"


def _after(budget: Budget, phase: Phase, jobs_left: int) -> float:
    """The plan's seconds for test split, data curve and suite."""
    test = budget.test or budget.beside
    scoring = test.seconds if test is not None else 0.0
    planned = budget.data_curve or (budget.offered_curve if phase == "data-curve" else None)
    curve = planned.seconds if planned is not None else 0.0
    suite = budget.suite.seconds if budget.suite is not None else 0.0
    if phase == "data-curve":
        trainings = 6 * curve_seeds(budget.confirmation_seeds)  # two trials at three sizes
        return curve * min(1.0, jobs_left / trainings) + suite
    if phase == "test":
        models = budget.finalists * budget.confirmation_seeds + 1
        scoring *= min(1.0, jobs_left / models)
    return scoring + curve + suite
