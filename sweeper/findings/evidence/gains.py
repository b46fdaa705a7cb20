"""Did the search beat the default, and what did a warm start bring? On validation.

Each strategy by itself.
"""

from __future__ import annotations

import math

from sweeper.evaluation.significance import mean_interval
from sweeper.findings import words
from sweeper.findings.evidence.paired_trials import ComparedPairs, Pair, paired_scores
from sweeper.findings.figures import Interval
from sweeper.findings.record import SearchGain, WarmStartResult
from sweeper.findings.study.item_scores import interval, validation_losses
from sweeper.findings.study.metric import (
    LOSS,
    SHARE,
    UNBOUNDED,
    bounded,
    level,
    objective_metric,
)
from sweeper.findings.study.model_strategy_pairs import pair
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.plans import ProposedTrial


def gains(run: RunFiles, pairs: ComparedPairs) -> tuple[SearchGain, ...]:
    """One line for each strategy of the plan, in the plan's order."""
    return tuple(_gain(run, strategy, pairs) for strategy in strategies_of(run))


def gain_pairs(run: RunFiles) -> list[Pair]:
    """Default and best of each strategy that completed both, where they are two trials."""
    pairs = [(default_of(run, name), best_of(run, name)) for name in strategies_of(run)]
    return [
        (default, best)
        for default, best in pairs
        if default is not None and best is not None and default is not best and default.completed
    ]


def strategies_of(run: RunFiles) -> tuple[str, ...]:
    """The strategies that compete, as the plan orders them, then any other that was tried."""
    planned = [candidate.strategy for candidate in run.plan.candidates]
    tried = [trial.config.strategy for trial in run.trials]
    return tuple(dict.fromkeys([*planned, *tried]))


def best_of(run: RunFiles, strategy: str) -> TrialFiles | None:
    """The best completed trial of a strategy."""
    return next((t for t in run.completed if t.config.strategy == strategy), None)


def default_of(run: RunFiles, strategy: str) -> TrialFiles | None:
    """The rule book's default of a strategy: the first trial of that origin."""
    own = (trial for trial in run.trials if trial.config.strategy == strategy)
    return next((trial for trial in own if trial.config.origin == "default"), None)


def value_interval(trial: TrialFiles) -> Interval:
    """A trial's value of the objective with its interval over items.

    Items weigh as they do in the loss: by the tokens of their answers where they are texts. What
    is left between the two means (a run whose weights were not kept) moves the interval.
    """
    scores = validation_losses(trial, seeds=False)
    if scores is None:
        return Interval(value=trial.value)
    estimate = mean_interval(scores)
    if not math.isfinite(estimate.high):
        return Interval(value=trial.value)
    moved = trial.loss - estimate.value
    found = Interval(
        value=trial.loss,
        low=estimate.low + moved,
        high=estimate.high + moved,
        n=estimate.items,
    )
    objective = trial.objective
    bounds = SHARE if objective.best == 1.0 else LOSS if objective.is_loss else UNBOUNDED
    return bounded(level(objective, found), bounds)


def _gain(run: RunFiles, strategy: str, pairs: ComparedPairs) -> SearchGain:
    best, default = best_of(run, strategy), default_of(run, strategy)
    default_done = default if default is not None and default.completed else None
    gain = SearchGain(
        strategy=strategy,
        default_trial=default.config.number if default else None,
        default_value=default_done.value if default_done else None,
        best_trial=best.config.number if best else None,
        best_value=best.value if best else None,
        default_interval=value_interval(default_done) if default_done else None,
        best_interval=value_interval(best) if best else None,
    )
    if default_done is None or best is None:
        return gain
    compared = _compared(default_done, best, pairs, run.margin)
    return gain.model_copy(update=compared)


def _compared(
    default: TrialFiles, best: TrialFiles, pairs: ComparedPairs, smallest: float
) -> dict[str, object]:
    """The figures of the comparison; none if the two were not compared."""
    comparison, scores = pairs.of(default, best), paired_scores(default, best)
    if comparison is None or scores is None:
        return {}
    return {
        "default_mean": default.objective.value(scores[0].mean),
        "best_mean": default.objective.value(scores[1].mean),
        "default_seeds": scores[0].seeds,
        "best_seeds": scores[1].seeds,
        "gain": interval(comparison.estimate),
        "outcome": comparison.turned().outcome(smallest),
        "lacking": comparison.lacking,
        "comparisons": comparison.comparisons,
    }


def last_useful_trial(run: RunFiles) -> int | None:
    """The last trial that was better than all before it."""
    best, last = math.inf, None
    for trial in sorted(run.completed, key=lambda trial: trial.config.number):
        if trial.loss < best:
            best, last = trial.loss, trial.config.number
    return last


def warm_starts(run: RunFiles) -> tuple[WarmStartResult, ...]:
    """One entry for each warm start of the plan."""
    return tuple(_entry(run, one) for one in run.plan.proposed if one.feature == "warm_start")


def _entry(run: RunFiles, warm: ProposedTrial) -> WarmStartResult:
    several = len({candidate.model for candidate in run.plan.candidates}) > 1
    strategy = pair(warm.strategy, warm.model) if several else warm.strategy
    tried, best = _tried(run, strategy, warm), best_of(run, strategy)
    default = default_of(run, strategy)
    return WarmStartResult(
        strategy=strategy,
        study=warm.record["study"],
        similarity=warm.record["similarity"],
        parameters=warm.parameters,
        earlier_loss=run.plan.objective.value(warm.record["loss"]),
        trial=tried.config.number if tried else None,
        loss=tried.value if tried and tried.completed else None,
        default_loss=default.value if default and default.completed else None,
        best_loss=best.value if best else None,
    )


def _tried(run: RunFiles, strategy: str, warm: ProposedTrial) -> TrialFiles | None:
    own = (trial for trial in run.trials if trial.config.strategy == strategy)
    wanted = warm.parameters.items()
    return next((trial for trial in own if wanted <= trial.config.parameters.items()), None)


def warm_start_sentence(run: RunFiles, found: WarmStartResult) -> str:
    """One warm start and its result, as a sentence."""
    metric = objective_metric(run.plan)
    unit = f" {words.column_unit(metric)}".rstrip()
    opening = (
        f"Warm start of {words.strategy(found.strategy)} from {found.study}, "
        f"{words.share(found.similarity)} alike"
    )
    if found.trial is None:
        return f"{opening}: not tried yet."
    if found.loss is None:
        return f"{opening}: trial {found.trial} tried it and was not completed."
    reached, best = (words.score(one, metric) for one in (found.loss, found.best_loss))
    default = ""
    if found.default_loss is not None:
        default = f", its default {words.score(found.default_loss, metric)}"
    return (
        f"{opening}: trial {found.trial} reached {reached}{unit}{default}, the best of all {best}."
    )
