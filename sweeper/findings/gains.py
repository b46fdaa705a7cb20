"""Did the search beat the default? On validation, each strategy by itself."""

from __future__ import annotations

import math

from sweeper.evaluation.significance import (
    Estimate,
    mean_interval,
    outcome,
    paired_difference,
)
from sweeper.findings.figures import Interval
from sweeper.findings.metric import margin
from sweeper.findings.reading import RunFiles, TrialFiles
from sweeper.findings.record import SearchGain
from sweeper.findings.scores import interval, validation_losses


def gains(run: RunFiles) -> tuple[SearchGain, ...]:
    """One line for each strategy of the plan, in the plan's order."""
    return tuple(_gain(run, strategy) for strategy in strategies_of(run))


def strategies_of(run: RunFiles) -> tuple[str, ...]:
    """The strategies that compete, as the plan orders them, then any other that was tried."""
    planned = [candidate.strategy for candidate in run.plan.candidates]
    tried = [trial.config.strategy for trial in run.trials]
    return tuple(dict.fromkeys([*planned, *tried]))


def best_of(run: RunFiles, strategy: str) -> TrialFiles | None:
    """The completed trial of a strategy with the lowest validation loss."""
    return next((t for t in run.completed if t.config.strategy == strategy), None)


def default_of(run: RunFiles, strategy: str) -> TrialFiles | None:
    """The rule book's default of a strategy: the first trial of that origin."""
    found = [
        trial
        for trial in run.trials
        if trial.config.strategy == strategy and trial.config.origin == "default"
    ]
    return found[0] if found else None


def loss_interval(trial: TrialFiles) -> Interval | None:
    """A trial's validation loss with its interval over items (and seeds, where it has several).

    Items weigh as they do in the loss: by the tokens of their answers where they are texts. What
    is left between the two means (a run whose weights were not kept) moves the interval.
    """
    scores = validation_losses(trial, seeds=False)
    if scores is None:
        return Interval(value=trial.loss)
    estimate = mean_interval(scores)
    if not math.isfinite(estimate.high):
        return Interval(value=trial.loss)
    moved = trial.loss - estimate.value
    return Interval(
        value=trial.loss,
        low=estimate.low + moved,
        high=estimate.high + moved,
        n=estimate.items,
    )


def _gain(run: RunFiles, strategy: str) -> SearchGain:
    best, default = best_of(run, strategy), default_of(run, strategy)
    default_done = default if default is not None and default.completed else None
    estimate = _estimate(default_done, best)
    smallest = margin(run.plan.facts.aim.margin_points)
    word = outcome(estimate, smallest, higher_is_better=True) if estimate else None
    return SearchGain(
        strategy=strategy,
        default_trial=default.config.number if default else None,
        default_loss=default_done.loss if default_done else None,
        best_trial=best.config.number if best else None,
        best_loss=best.loss if best else None,
        default_interval=loss_interval(default_done) if default_done else None,
        best_interval=loss_interval(best) if best else None,
        gain=interval(estimate) if estimate else None,
        outcome=word,
    )


def _estimate(default: TrialFiles | None, best: TrialFiles | None) -> Estimate | None:
    """Default minus best on the same items; None where either is missing or both are one."""
    if default is None or best is None or default is best:
        return None
    first, second = validation_losses(default), validation_losses(best)
    if first is None or second is None or first.items.shape[1] != second.items.shape[1]:
        return None
    return paired_difference(first, second)


def last_useful_trial(run: RunFiles) -> int | None:
    """The last trial that lowered the best validation loss so far."""
    best, last = math.inf, None
    for trial in sorted(run.completed, key=lambda trial: trial.config.number):
        if trial.loss < best:
            best, last = trial.loss, trial.config.number
    return last
