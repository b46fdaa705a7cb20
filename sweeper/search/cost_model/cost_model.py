"""A model of the cost of one candidate's untried configurations, from its trials.

A Gaussian process over the searched parameters, asked where an improvement is most likely, with
the rules' prior on its side for as long as trials are few. What other candidates' trials say about
the same parameters counts too: a task that wants a higher rate or another start wants it of most
strategies. Pure.

A candidate's trials also say which are its best, and from which ranges the next values are drawn.
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
from sweeper.search.cost_model.axes import Axes, Axis, Point, Range, Rows, is_repeat
from sweeper.search.cost_model.gaussian_process import (
    GaussianProcess,
    Matrix,
    Vector,
    clipped,
)
from sweeper.search.cost_model.observations import START, Observation
from sweeper.search.cost_model.untrained import UNTRAINED

INCUMBENTS = 3
# A model is told of so many trials at most, its own and others': what it costs grows with their
# square and more.
MOST_TOLD = 128

# The best trial is at an edge if it is within this share of the best-practice range's width. The
# report's share (10%, ``reporting/sections/_parameters.py``) is one of the whole allowed range.
EDGE_SHARE = 0.25
# Fewer trials cannot show that the best one lies at the edge by more than chance.
FEWEST_TRIALS = 3

# Noise of one cost, as a share of the best. In replays the noise that the curves showed was no
# better.
NOISE_SHARE = 0.01
# Costs are taken to vary by this share of the best at least, however alike the first few are.
LEAST_SPREAD = 0.1
# piBO (arXiv:2204.11051): the prior counts beta / n after n trials. Measured in replays of
# synthetic curves: 1 was as good as or better than 2, at little noise and at much.
PRIOR_BETA = 1.0
# Each candidate has a model: where there are many, each is told of fewer trials.
LEAST_TOLD, TOLD_BY_ALL = 48, 256
# What is over the limit is known to this share of how much trials differ by it: it is measured on
# few texts. An assumption, not a measurement.
DOUBT_SHARE = 0.1


@dataclass(frozen=True)
class ModelInput:
    """Trials and their costs, as input of a cost model."""

    trials: Sequence[Observation]
    costs: Vector

    def thinned(self, most: int) -> ModelInput:
        """At most this many of them."""
        if len(self.trials) <= most:
            return self
        if most not in self._thinned:
            places = telling_places(self.trials, most)
            trials = [self.trials[index] for index in places]
            self._thinned[most] = ModelInput(trials, self.costs[places])
        return self._thinned[most]

    @cached_property
    def _thinned(self) -> dict[int, ModelInput]:
        return {}


@dataclass(frozen=True)
class Trials:
    """One candidate's trials, as input of its own and other candidates' cost models.

    Args:
        axes: Its searched parameters.
        seen: Its trials, and what is known of one that nobody ran.
        full: The study's full budget.
    """

    axes: Axes
    seen: Sequence[Observation]
    full: TrialBudget

    def tells(self, axes: Axes) -> bool:
        """Whether its costs inform about another candidate: both have a rate of the same name."""
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
    def incumbents(self) -> list[Observation]:
        """The best trials, best first.

        An untrained model is one of them until a trial went out from it: what is known then about
        moving from there is better than what is known about not moving.
        """
        ended = [trial for trial in self.seen if trial.cost is not None]
        starts = {trial.parameters.get(START) for trial in ended if trial.origin != UNTRAINED}
        candidates = [
            trial
            for trial in ended
            if trial.origin != UNTRAINED or trial.parameters.get(START) not in starts
        ]
        return heapq.nsmallest(INCUMBENTS, candidates, lambda trial: trial.rank)

    @cached_property
    def trained(self) -> int:
        """The number of trials that were trained and ended with a cost."""
        return sum(1 for trial in self.seen if trial.cost is not None and trial.origin != UNTRAINED)

    @cached_property
    def few(self) -> list[Observation]:
        """All of them, or the most informative ones."""
        return thinned(self.seen, MOST_TOLD)

    @cached_property
    def own_input(self) -> ModelInput:
        """The input of its own model."""
        return self._input_of(
            [trial for trial in self.few if trial.cost is not None or trial.failed]
        )

    @cached_property
    def shared_input(self) -> ModelInput:
        """The input of other candidates' models."""
        ended = [trial for trial in self.few if trial.cost is not None]
        return self._input_of([trial for trial in ended if trial.origin != UNTRAINED])

    @cached_property
    def rows(self) -> Matrix:
        """The configurations of all of them, running ones too."""
        return Rows(self.axes).matrix([trial.parameters for trial in self.seen if trial.parameters])

    @cached_property
    def ended(self) -> int:
        """The number of trials that ended with useful information."""
        return sum(1 for trial in self.seen if trial.cost is not None or trial.failed)

    @cached_property
    def log_seconds(self) -> float:
        """Mean log of the seconds of a full trial; 0 if no trial was timed."""
        full = [
            trial.seconds * self.full.rungs / max(trial.curve)
            for trial in self.few
            if trial.seconds > 0 and trial.curve and trial.cost is not None
        ]
        return float(np.log(full).mean()) if full else 0.0

    def _input_of(self, ended: Sequence[Observation]) -> ModelInput:
        # A failed trial is as bad as the worst that ended.
        worst = max((trial.cost for trial in ended if trial.cost is not None), default=1.0)
        filled = np.asarray([worst if trial.cost is None else trial.cost for trial in ended])
        return ModelInput(ended, clipped(filled) if ended else filled)


def searched_range(axis: Axis, seen: Sequence[Observation]) -> Range:
    """The range to draw from, within the allowed one.

    An edge moves by one width of the best-practice range beyond the best trial when that trial
    lies at the edge or past it, again and again; never past the middle between the best trial and
    one that failed on that side.

    Args:
        seen: Trials of one candidate.
    """
    low, high = axis.practice
    having = [trial for trial in seen if axis.name in trial.parameters]
    ended = [trial for trial in having if trial.cost is not None]
    if len(ended) < FEWEST_TRIALS:
        return low, high
    best = axis.unit(min(ended, key=lambda trial: trial.rank).parameters[axis.name])
    failed = [axis.unit(trial.parameters[axis.name]) for trial in having if trial.failed]
    margin = EDGE_SHARE * axis.width
    if best >= high - margin:
        wall = min(((best + bad) / 2 for bad in failed if bad > best), default=1.0)
        high = max(high, min(best + axis.width, wall))
    if best <= low + margin:
        wall = max(((best + bad) / 2 for bad in failed if bad < best), default=0.0)
        low = min(low, max(best - axis.width, wall))
    return max(0.0, low), min(1.0, high)


def thinned(trials: Sequence[Observation], most: int) -> list[Observation]:
    """The most informative trials, in order: the best, the most recent, some of the rest."""
    return [trials[index] for index in telling_places(trials, most)]


def telling_places(trials: Sequence[Observation], most: int) -> list[int]:
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
    """Figures over the trials of all candidates.

    Args:
        spread: How much the better costs differ.
        best: The lowest final cost of those that keep to the user's limit.
    """

    spread: float = 0.0
    best: float = math.inf


class Suggestion(NamedTuple):
    """A configuration to try.

    Args:
        point: The configuration.
        score: Log of the expected improvement on the best cost of all, a second of a full trial.
            Where trials may break a limit, of the improvement times the probability of keeping to
            it; of that alone where no trial has kept to it yet.
    """

    point: Point
    score: float


@dataclass(frozen=True)
class CostModel:
    """The model of one candidate's costs, made for one decision.

    Args:
        own: The candidate's trials.
        log_priors: Log densities of configurations under the rules' prior.
        known: What all candidates' trials say.
        others: Other candidates, whose costs tell in which direction to go.
    """

    own: Trials
    log_priors: Callable[[Sequence[Point]], Vector]
    known: StudyCosts = field(default_factory=StudyCosts)
    others: Sequence[Trials] = ()

    @cached_property
    def _telling(self) -> list[Trials]:
        return [other for other in self.others if other.tells(self.own.axes)]

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.own.axes, len(self._telling))

    @property
    def _most(self) -> int:
        return min(MOST_TOLD, max(LEAST_TOLD, TOLD_BY_ALL // (1 + len(self.others))))

    @cached_property
    def _inputs(self) -> tuple[ModelInput, list[ModelInput]]:
        """Its input: its own trials, at least half of all, and those of other candidates."""
        most = self._most
        others = [other.shared_input for other in self._telling]
        own = self.own.own_input.thinned(
            max(most // 2, most - sum(len(part.trials) for part in others))
        )
        room, few_first = most - len(own.trials), sorted(others, key=lambda part: len(part.trials))
        limit = 0
        for before, part in enumerate(few_first):  # who has few leaves room to the rest
            limit = room // (len(others) - before)
            if len(part.trials) > limit:
                break
            room -= len(part.trials)
        return own, [part.thinned(limit) for part in others]

    def pick(self, draws: Sequence[Point]) -> Suggestion:
        """The draw with the largest expected improvement."""
        rows = self._rows.matrix(draws)
        gains = self._log_gains(self._fitted, rows)
        tried = self.own.rows
        alone = rows[:, : tried.shape[1]]
        score = gains + PRIOR_BETA / self.own.ended * self.log_priors(draws)
        best_first = np.argsort(-score, kind="stable")
        fresh = (k for k in best_first if not is_repeat(alone[k], tried))
        chosen = int(next(fresh, best_first[0]))
        return Suggestion(draws[chosen], float(gains[chosen]) - self.own.log_seconds)

    def _log_gains(self, fitted: GaussianProcess, rows: Matrix) -> Vector:
        measured = [trial for trial in self.own.few if trial.violation is not None]
        kept = [trial for trial in measured if trial.keeps] if measured else self.own.few
        points = [trial.parameters for trial in thinned(kept, self._most // 2) if trial.parameters]
        reached = float(fitted.predict(self._rows.matrix(points))[0].min()) if points else math.inf
        best = min(reached, self.known.best)
        within = self._log_within_limit(measured, rows)
        if math.isinf(best):
            return within
        gains: Vector = np.log(fitted.expected_improvement(rows, best) + 1e-300) + within
        return gains

    def _log_within_limit(self, measured: Sequence[Observation], rows: Matrix) -> Vector:
        if all(trial.keeps for trial in measured):
            return np.zeros(len(rows))
        trials = thinned(measured, self._most)
        points = self._rows.matrix([trial.parameters for trial in trials])
        violation = np.asarray([trial.violation or 0.0 for trial in trials])
        return log_within_limit(points, violation, rows)

    @cached_property
    def _fitted(self) -> GaussianProcess:
        own, others = self._inputs
        lowest = abs(float(own.costs.min()))
        noise, spread = NOISE_SHARE * lowest, max(self.known.spread, LEAST_SPREAD * lowest)
        rows = [self._rows.matrix([trial.parameters for trial in own.trials])]
        costs, whose = [own.costs], [np.zeros(len(own.costs), dtype=np.int64)]
        for which, (other, theirs) in enumerate(zip(self._telling, others, strict=True)):
            points = [trial.parameters for trial in theirs.trials]
            rows.append(self._rows.seen_from_here(other.axes, points, which))
            costs.append(theirs.costs)
            whose.append(np.full(len(points), which + 1))

        def fit() -> GaussianProcess:
            joined, owners = np.concatenate(costs), np.concatenate(whose)
            return GaussianProcess.fit(np.vstack(rows), joined, noise, spread, owners)

        fitted = fit()
        running = [trial.parameters for trial in self.own.few if trial.running and trial.parameters]
        if not running:
            return fitted
        # What runs now is believed to end as predicted, so that others differ from it.
        rows.append(self._rows.matrix(running))
        costs.append(fitted.predict(rows[-1])[0])
        whose.append(np.zeros(len(running), dtype=np.int64))
        return fit()

    def furthest(self, draws: Sequence[Point]) -> Point:
        """The draw farthest from all trials, while there are too few trials for a model."""
        tried = self._rows.matrix([trial.parameters for trial in self.own.few])
        rows = self._rows.matrix(draws)
        distances = np.sqrt(((rows[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2))
        return draws[int(distances.min(axis=1).argmax())]


def log_within_limit(points: Matrix, violation: Vector, rows: Matrix) -> Vector:
    """Log probability of staying within the user's limit, shape ``(m,)``.

    What is over it is modelled apart from the cost: a penalty would need a rate of exchange between
    the two, and would bend the model of the cost where the trials are that know it best.

    Expected improvement is weighed with it: Schonlau, Welch and Jones 1998, Global versus local
    search in constrained optimization; Gardner et al. 2014, Bayesian optimization with inequality
    constraints.

    Args:
        points: Where it was measured, shape ``(n, d)``.
        violation: By how much the limit was broken there, up to 0 where not, shape ``(n,)``.
        rows: Where it is asked for, shape ``(m, d)``.
    """
    seen = clipped(violation)
    spread = float(np.std(seen)) or float(np.abs(seen).max())
    fitted = GaussianProcess.fit(points, seen, DOUBT_SHARE * spread, spread)
    mean, deviation = fitted.predict(rows)
    return np.asarray(special.log_ndtr(-mean / deviation))
