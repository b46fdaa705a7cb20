"""Figures of finalists over their seeds, and of strategies over their trials."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from functools import lru_cache

from sweeper.evaluation.significance import mean_interval, t_interval
from sweeper.findings.findings import Finalist, Interval, SeedScore, StrategySummary
from sweeper.findings.study.item_scores import test_score, test_scores, trial_name, validation_costs
from sweeper.findings.study.metric import LOSS, SHARE, UNBOUNDED, bounded, objective_interval
from sweeper.findings.study.paired_trials import ComparedPairs, Pair, compare_pairs
from sweeper.findings.study.reading import (
    RunFiles,
    TrialFiles,
    finite_metrics,
    finite_value,
    used_full_budget,
)
from sweeper.search.finalists import Trainings, in_order
from sweeper.spec import Scalar
from sweeper.traits.traits import StrategyOnModel


def finalists(run: RunFiles) -> tuple[Finalist, ...]:
    """The finalists in their order on validation, which was fixed before the test was opened."""
    trials = _ordered_finalists(run)
    return tuple(_finalist(run, order, trial) for order, trial in enumerate(trials, start=1))


def _ordered_finalists(run: RunFiles) -> list[TrialFiles]:
    """The finalists in the order of the seal; before it exists, in the order that it will have."""
    if run.seal:
        numbers = list(run.seal.order)
    else:
        trainings = [
            Trainings(
                finalist.config.number,
                [training.result for training in finalist.trainings()],
                objective=run.plan.objective,
                limits=run.limits,
            )
            for finalist in run.ranked
            if finalist.seeds
        ]
        numbers = [finalist.trial for finalist in in_order(trainings)]
    trials = [run.trial(number) for number in numbers]
    return [trial for trial in trials if trial is not None and trial.completed]


def _finalist(run: RunFiles, order: int, trial: TrialFiles) -> Finalist:
    number, by_seed = trial.config.number, test_scores(run).by_seed
    losses = {
        training.result.seed: loss
        for training in trial.trainings()
        if (loss := finite_value(training.result.validation_loss)) is not None
    }
    mean, low, high = t_interval(list(losses.values()))
    peaks = [
        peak
        for training in trial.trainings()
        if (peak := finite_value(training.result.peak_memory_gib)) is not None
    ]
    return Finalist(
        trial=number,
        strategy=trial.config.strategy,
        order=order,
        seeds=tuple(
            SeedScore(seed=seed, validation_loss=loss, test_score=by_seed.get((number, seed)))
            for seed, loss in losses.items()
        ),
        validation_loss=bounded(Interval(value=mean, low=low, high=high, n=len(losses)), LOSS),
        test_score=test_score(run, trial_name(number)),
        peak_memory_gib=statistics.median(peaks) if peaks else None,
        seconds=trial.seconds or 0.0,
    )


def gain_pairs(run: RunFiles) -> list[Pair]:
    """The default and the best trial of each strategy for which these are two completed trials."""
    pairs = [(default_of(run, name), best_of(run, name)) for name in strategies_of(run)]
    return [
        (default, best)
        for default, best in pairs
        if default is not None and best is not None and default is not best and default.completed
    ]


def off_values(run: RunFiles) -> dict[str, Scalar]:
    """The value that switches a parameter off, for each parameter that has one."""
    return {
        name: parameter.off_value
        for candidate in run.plan.candidates
        for name, parameter in candidate.parameters.items()
        if parameter.off_value is not None
    }


def off_pairs(run: RunFiles, parameter: str) -> list[Pair]:
    """A pair of trials without and with the effect of a parameter, for each strategy that has both.

    If possible, the two differ in nothing else. Otherwise each is the best without or with it.
    """
    off, pairs = off_values(run).get(parameter), list[Pair]()
    for strategy in strategies_of(run):
        trials = [
            trial
            for trial in run.ranked
            if trial.config.strategy == strategy and parameter in trial.config.parameters
        ]
        on_trials = [trial for trial in trials if trial.config.parameters[parameter] != off]
        off_trials = [trial for trial in trials if trial.config.parameters[parameter] == off]
        equal_pairs = (
            (without, with_it)
            for with_it in on_trials
            for without in off_trials
            if same_but_for(parameter, with_it, without)
        )
        if on_trials and off_trials:
            pairs.append(next(equal_pairs, (off_trials[0], on_trials[0])))
    return pairs


def same_but_for(parameter: str, *trials: TrialFiles) -> bool:
    """Whether trials differ only in a parameter, or in parameters whose names begin with its
    name."""
    first, *others = (
        {
            name: value
            for name, value in trial.config.parameters.items()
            if not name.startswith(parameter)
        }
        for trial in trials
    )
    return all(other == first for other in others)


def strategies_of(run: RunFiles) -> tuple[StrategyOnModel, ...]:
    """The strategies in the plan's order, then any others that were tried."""
    planned = [candidate.strategy for candidate in run.plan.candidates]
    tried = [trial.config.strategy for trial in run.trials]
    return tuple(dict.fromkeys([*planned, *tried]))


def best_of(run: RunFiles, strategy: StrategyOnModel) -> TrialFiles | None:
    """The best completed trial of a strategy, if any."""
    return next((t for t in run.ranked if t.config.strategy == strategy), None)


def default_of(run: RunFiles, strategy: StrategyOnModel) -> TrialFiles | None:
    """The rule book's default of a strategy, if tried: the first trial of origin ``default``."""
    own = (trial for trial in run.trials if trial.config.strategy == strategy)
    return next((trial for trial in own if trial.config.origin == "default"), None)


def value_interval(trial: TrialFiles, *, seeds: bool = False) -> Interval:
    """A trial's value of the objective with its interval over items.

    Items have the weights that they have in the loss: the tokens of their answers. If these were
    not recorded, the interval is shifted so that its centre is the trial's value.

    Args:
        seeds: Whether to use the mean and spread of all trainings instead of the trial's own one.
    """
    scores = validation_costs(trial, seeds=seeds)
    if scores is None:
        return Interval(value=trial.value)
    estimate = mean_interval(scores)
    if not math.isfinite(estimate.high):
        return Interval(value=trial.value)
    shift = 0.0 if seeds else trial.cost - estimate.value
    shifted = Interval(
        value=estimate.value + shift,
        low=estimate.low + shift,
        high=estimate.high + shift,
        n=estimate.items,
    )
    objective = trial.objective
    bounds = SHARE if objective.best == 1.0 else LOSS if objective.is_loss else UNBOUNDED
    return bounded(objective_interval(objective, shifted), bounds)


@lru_cache(maxsize=1)
def default_best_comparisons(run: RunFiles) -> ComparedPairs:
    """The default of each strategy against its best trial."""
    return compare_pairs(gain_pairs(run))


def strategy_summaries(run: RunFiles) -> tuple[StrategySummary, ...]:
    """A summary of each strategy, in the plan's order."""
    summaries = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.trials if trial.config.strategy == strategy]
        states = Counter(trial.result.state for trial in trials)
        best = best_of(run, strategy)
        completed = [t for t in trials if t.completed]
        full = [t for t in completed if used_full_budget(t, run.plan.budget.rungs)]
        seconds = [s for t in full or completed if (s := t.seconds) is not None]
        results = [t.result for t in trials]
        peaks = [p for result in results if (p := finite_value(result.peak_memory_gib)) is not None]
        summary = StrategySummary(
            strategy=strategy,
            complete=states["COMPLETE"],
            pruned=states["PRUNED"],
            failed=states["FAIL"],
            best_trial=best.config.number if best else None,
            best_value=best.value if best else None,
            best_interval=value_interval(best) if best else None,
            best_metrics=finite_metrics(best.result.metrics) if best else {},
            seconds_per_trial=statistics.median(seconds) if seconds else None,
            peak_memory_gib=max(peaks, default=None),
            trainable_share=_trainable_share(best),
        )
        summaries.append(summary)
    return tuple(summaries)


def _trainable_share(best: TrialFiles | None) -> float | None:
    """The share of the parameters that a trial trains; None if unknown."""
    result = best.result if best else None
    if result is None or not result.total_parameters or result.trainable_parameters is None:
        return None
    return result.trainable_parameters / result.total_parameters
