"""A model of the costs of one candidate's untried configurations.

A Gaussian process over the searched parameters predicts where an improvement is most likely; the
rules' prior has weight while trials are few. Trials of other candidates with the same parameters
count too: if a task needs a higher rate or another initialisation, most strategies do. Pure.

A candidate's trials also decide its incumbents and the ranges of the next draws.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import special

from sweeper.plans import TrialBudget
from sweeper.search.cost_model.axes import Axes, Axis, Encoder, Point, Range, is_repeat
from sweeper.search.cost_model.gaussian_process import (
    GaussianProcess,
    Matrix,
    Vector,
    clipped,
)
from sweeper.search.cost_model.trial_costs import TrialCosts

# Number of best trials near which configurations are drawn.
INCUMBENTS = 3
# Maximum number of trials in one model, of its own and of other candidates: the time of a fit grows
# faster than their square.
MAX_MODEL_TRIALS = 128

# The best trial is at an edge if it is within this share of the best-practice range's width. (The
# report's share of 10%, ``reporting/sections/parameters.py``, is of the whole allowed range.)
EDGE_SHARE = 0.25
# Fewest ended trials to widen a range: with fewer, the best may be at the edge by chance.
MIN_TRIALS_TO_WIDEN = 3

# Noise of one cost, as a share of the best. In replays, the noise estimated from curves was no
# better.
NOISE_SHARE = 0.01
# Minimum assumed spread of costs, as a share of the best cost, even if the first costs are similar.
MIN_SPREAD_SHARE = 0.1
# piBO (arXiv:2204.11051): the prior has weight beta / n after n trials. In replays of synthetic
# curves, 1 was as good as or better than 2, with little and with much noise.
PRIOR_BETA = 1.0
# Each candidate has a model. Limits on its trials: at least the first number, but no more than the
# second one in all models together.
MIN_MODEL_TRIALS, MAX_TRIALS_OF_ALL_MODELS = 48, 256
# Noise of a limit's violation, as a share of its spread over trials, since violations are measured
# on few texts. An assumption, not a measurement.
VIOLATION_NOISE_SHARE = 0.1


@dataclass(frozen=True)
class ModelInput:
    """Trials and their costs, as input of a cost model."""

    trials: Sequence[TrialCosts]
    costs: Vector

    def thinned(self, most: int) -> ModelInput:
        """Its ``most`` most informative trials; all if they are fewer."""
        if len(self.trials) <= most:
            return self
        if most not in self._thinned:
            indices = informative_indices(self.trials, most)
            trials = [self.trials[index] for index in indices]
            self._thinned[most] = ModelInput(trials, self.costs[indices])
        return self._thinned[most]

    @cached_property
    def _thinned(self) -> dict[int, ModelInput]:
        return {}


@dataclass(frozen=True)
class Trials:
    """One candidate's trials, as input of its own and other candidates' cost models.

    Args:
        axes: The candidate's searched parameters.
        seen: Its trials, with the untrained model as one of them.
        full: The study's full budget.
    """

    axes: Axes
    seen: Sequence[TrialCosts]
    full: TrialBudget

    def informs(self, axes: Axes) -> bool:
        """Whether its costs inform another candidate's model: both have a rate of the same name."""
        rates = (
            name for name, axis in self.axes.items() if isinstance(axis, Axis) and axis.is_log_float
        )
        return bool(self.shared_input.trials) and any(
            isinstance(axes.get(rate), Axis) for rate in rates
        )

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """The currently searched range of each numeric parameter."""
        return {
            name: searched_range(axis, self.seen)
            for name, axis in self.axes.items()
            if isinstance(axis, Axis)
        }

    @cached_property
    def incumbents(self) -> list[TrialCosts]:
        """The best trials, best first, with the untrained model as one of them."""
        ended = [trial for trial in self.seen if trial.cost is not None]
        return heapq.nsmallest(INCUMBENTS, ended, lambda trial: trial.rank)

    @cached_property
    def trained_count(self) -> int:
        """The number of trained trials that ended with a cost."""
        return sum(1 for trial in self.seen if trial.cost is not None and not trial.untrained)

    @cached_property
    def informative(self) -> list[TrialCosts]:
        """The most informative trials; all if one model can take them."""
        return thinned(self.seen, MAX_MODEL_TRIALS)

    @cached_property
    def own_input(self) -> ModelInput:
        """Its trials as input of its own model."""
        return self._input_of(
            [trial for trial in self.informative if trial.cost is not None or trial.failed]
        )

    @cached_property
    def shared_input(self) -> ModelInput:
        """Its trials as input of other candidates' models."""
        ended = [trial for trial in self.informative if trial.cost is not None]
        return self._input_of([trial for trial in ended if not trial.untrained])

    @cached_property
    def rows(self) -> Matrix:
        """The configurations of all trials, including running ones; shape ``(n, columns)``."""
        points = [trial.parameters for trial in self.seen if trial.parameters]
        return Encoder(self.axes).matrix(points)

    @cached_property
    def ended_count(self) -> int:
        """The number of trials that ended with a cost, or failed due to their configuration."""
        return sum(1 for trial in self.seen if trial.cost is not None or trial.failed)

    @cached_property
    def log_seconds(self) -> float:
        """Mean log of the seconds of a full trial; 0 if no trial was timed."""
        full_seconds = [
            trial.seconds * self.full.rungs / max(trial.curve)
            for trial in self.informative
            if trial.seconds > 0 and trial.curve and trial.cost is not None
        ]
        return float(np.log(full_seconds).mean()) if full_seconds else 0.0

    def _input_of(self, ended: Sequence[TrialCosts]) -> ModelInput:
        # A failed trial gets the cost of the worst trial that ended.
        worst = max((trial.cost for trial in ended if trial.cost is not None), default=1.0)
        filled = np.asarray([worst if trial.cost is None else trial.cost for trial in ended])
        return ModelInput(ended, clipped(filled) if ended else filled)


def searched_range(axis: Axis, seen: Sequence[TrialCosts]) -> Range:
    """The range of positions to draw from, within the allowed range.

    Whenever the best trial lies at an edge or past it, the edge moves to one width of the
    best-practice range beyond that trial. It does not move past the middle between the best trial
    and a trial that failed on that side.

    Args:
        seen: Trials of one candidate.
    """
    low, high = axis.best_practice
    with_parameter = [trial for trial in seen if axis.name in trial.parameters]
    ended = [trial for trial in with_parameter if trial.cost is not None]
    if len(ended) < MIN_TRIALS_TO_WIDEN:
        return low, high
    best = axis.unit(min(ended, key=lambda trial: trial.rank).parameters[axis.name])
    failed = [axis.unit(trial.parameters[axis.name]) for trial in with_parameter if trial.failed]
    margin = EDGE_SHARE * axis.width
    if best >= high - margin:
        limit = min(
            ((best + failed_unit) / 2 for failed_unit in failed if failed_unit > best), default=1.0
        )
        high = max(high, min(best + axis.width, limit))
    if best <= low + margin:
        limit = max(
            ((best + failed_unit) / 2 for failed_unit in failed if failed_unit < best), default=0.0
        )
        low = min(low, max(best - axis.width, limit))
    return max(0.0, low), min(1.0, high)


def thinned(trials: Sequence[TrialCosts], most: int) -> list[TrialCosts]:
    """The most informative trials, in order: the best, the most recent, and some of the rest."""
    return [trials[index] for index in informative_indices(trials, most)]


def informative_indices(trials: Sequence[TrialCosts], most: int) -> list[int]:
    """The positions of the ``thinned`` trials."""
    if len(trials) <= most:
        return list(range(len(trials)))
    third = most // 3
    ranks, numbers = [trial.rank for trial in trials], [trial.number for trial in trials]
    best = heapq.nsmallest(third, range(len(trials)), ranks.__getitem__)
    by_number = sorted(range(len(trials)), key=numbers.__getitem__)
    kept = {*best, *by_number[len(trials) - third :]}
    rest = [index for index in by_number if index not in kept]
    evenly = np.linspace(0, len(rest) - 1, most - len(kept)).round().astype(int)
    return sorted(kept | {rest[index] for index in evenly})


@dataclass(frozen=True)
class StudyCosts:
    """Statistics over the trials of all candidates.

    Args:
        spread: Standard deviation of the better half of costs.
        best: The lowest final cost within the limits.
    """

    spread: float = 0.0
    best: float = math.inf


class Suggestion(NamedTuple):
    """A configuration to try.

    Args:
        point: The configuration.
        score: Log of the expected improvement on the best cost of all, per second of a full trial.
            With limits, the improvement is multiplied by the probability of keeping them; while no
            trial has kept them, the probability replaces the improvement.
    """

    point: Point
    score: float


@dataclass(frozen=True)
class CostModel:
    """The model of one candidate's costs, made for one decision.

    Args:
        own: The candidate's trials.
        log_priors: Returns log densities of configurations under the rules' prior.
        study: Statistics over all candidates' trials.
        others: Trials of other candidates.
    """

    own: Trials
    log_priors: Callable[[Sequence[Point]], Vector]
    study: StudyCosts = field(default_factory=StudyCosts)
    others: Sequence[Trials] = ()

    @cached_property
    def _informing_trials(self) -> list[Trials]:
        return [other for other in self.others if other.informs(self.own.axes)]

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.own.axes, len(self._informing_trials))

    @property
    def _max_trials(self) -> int:
        return min(
            MAX_MODEL_TRIALS,
            max(MIN_MODEL_TRIALS, MAX_TRIALS_OF_ALL_MODELS // (1 + len(self.others))),
        )

    @cached_property
    def _inputs(self) -> tuple[ModelInput, list[ModelInput]]:
        """The model's input: its own trials, which may take at least half of the room, and the
        trials of each informing candidate."""
        max_trials = self._max_trials
        others = [other.shared_input for other in self._informing_trials]
        own = self.own.own_input.thinned(
            max(max_trials // 2, max_trials - sum(len(part.trials) for part in others))
        )
        remaining, share = max_trials - len(own.trials), 0
        by_size = sorted(others, key=lambda part: len(part.trials))
        for index, part in enumerate(by_size):  # small inputs leave room for larger ones
            share = remaining // (len(others) - index)
            if len(part.trials) > share:
                break
            remaining -= len(part.trials)
        return own, [part.thinned(share) for part in others]

    def pick(self, draws: Sequence[Point]) -> Suggestion:
        """The draw with the largest expected improvement, weighted by the priors; a draw that was
        tried only if all were."""
        rows = self._encoder.matrix(draws)
        gains = self._log_gains(rows)
        tried = self.own.rows
        own_columns = rows[:, : tried.shape[1]]
        score = gains + PRIOR_BETA / self.own.ended_count * self.log_priors(draws)
        best_first = np.argsort(-score, kind="stable")
        untried = (k for k in best_first if not is_repeat(own_columns[k], tried))
        chosen = int(next(untried, best_first[0]))
        return Suggestion(draws[chosen], float(gains[chosen]) - self.own.log_seconds)

    def _log_gains(self, rows: Matrix) -> Vector:
        """The expected improvement of each row as a log, with the probability of the limits."""
        fitted = self._process
        measured = [trial for trial in self.own.informative if trial.violation is not None]
        kept = [trial for trial in measured or self.own.informative if trial.within_limits]
        kept = thinned(kept, self._max_trials // 2)
        points = [trial.parameters for trial in kept if trial.parameters]
        lowest = (
            float(fitted.predict(self._encoder.matrix(points))[0].min()) if points else math.inf
        )
        best = min(lowest, self.study.best)
        within = self._log_within_limits(measured, rows)
        if math.isinf(best):
            return within
        gains: Vector = np.log(fitted.expected_improvement(rows, best) + 1e-300) + within
        return gains

    def _log_within_limits(self, measured: Sequence[TrialCosts], rows: Matrix) -> Vector:
        if all(trial.within_limits for trial in measured):
            return np.zeros(len(rows))
        trials = thinned(measured, self._max_trials)
        points = self._encoder.matrix([trial.parameters for trial in trials])
        violation = np.asarray([trial.violation or 0.0 for trial in trials])
        return log_within_limits(points, violation, rows)

    @cached_property
    def _process(self) -> GaussianProcess:
        own, others = self._inputs
        lowest = abs(float(own.costs.min()))
        noise, spread = NOISE_SHARE * lowest, max(self.study.spread, MIN_SPREAD_SHARE * lowest)
        rows = [self._encoder.matrix([trial.parameters for trial in own.trials])]
        costs, candidates = [own.costs], [np.zeros(len(own.costs), dtype=np.int64)]
        for position, (other, other_input) in enumerate(
            zip(self._informing_trials, others, strict=True)
        ):
            points = [trial.parameters for trial in other_input.trials]
            rows.append(self._encoder.translated_matrix(other.axes, points, position))
            costs.append(other_input.costs)
            candidates.append(np.full(len(points), position + 1))

        def fit() -> GaussianProcess:
            all_costs, all_candidates = np.concatenate(costs), np.concatenate(candidates)
            return GaussianProcess.fit(np.vstack(rows), all_costs, noise, spread, all_candidates)

        process = fit()
        running = [
            trial.parameters for trial in self.own.informative if trial.running and trial.parameters
        ]
        if not running:
            return process
        # Running trials count with their predicted costs, so that new ones differ from them.
        rows.append(self._encoder.matrix(running))
        costs.append(process.predict(rows[-1])[0])
        candidates.append(np.zeros(len(running), dtype=np.int64))
        return fit()

    def furthest(self, draws: Sequence[Point]) -> Point:
        """The draw farthest from all trials, while there are too few trials for a model."""
        tried = self._encoder.matrix([trial.parameters for trial in self.own.informative])
        rows = self._encoder.matrix(draws)
        distances = np.sqrt(((rows[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2))
        return draws[int(distances.min(axis=1).argmax())]


def log_within_limits(points: Matrix, violation: Vector, rows: Matrix) -> Vector:
    """Log probability of staying within the limits, shape ``(m,)``.

    The violation is modelled separately from the cost: a penalty would need a rate of exchange
    between the two, and would distort the model of the cost near the best trials.

    Expected improvement is multiplied by it: Schonlau, Welch and Jones 1998, Global versus local
    search in constrained optimization; Gardner et al. 2014, Bayesian optimization with inequality
    constraints.

    Args:
        points: Rows with measured violations, shape ``(n, d)``.
        violation: Their violations, at most 0 if the limits were kept; shape ``(n,)``.
        rows: Rows to predict, shape ``(m, d)``.
    """
    violations = clipped(violation)
    spread = float(np.std(violations)) or float(np.abs(violations).max())
    fitted = GaussianProcess.fit(points, violations, VIOLATION_NOISE_SHARE * spread, spread)
    mean, deviation = fitted.predict(rows)
    return np.asarray(special.log_ndtr(-mean / deviation))
