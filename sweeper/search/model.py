"""What one candidate's trials say about configurations that were not tried: a model of the loss.

A Gaussian process over the searched parameters, asked where an improvement is most likely, with
the rules' prior on its side for as long as trials are few. What other candidates' trials say about
the same parameters counts too: a task that wants a higher rate or another start wants it of most
strategies. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sweeper.search.axis import Axis, Range
from sweeper.search.curves import ends
from sweeper.search.feasible import log_chance
from sweeper.search.length import Full, rungs_of
from sweeper.search.observations import START, Observation
from sweeper.search.rows import Axes, Point, Rows, is_repeat
from sweeper.search.shorter import shorter
from sweeper.search.surrogate import Matrix, Surrogate, Vector, Whose, clipped
from sweeper.search.untrained import ORIGIN as UNTRAINED
from sweeper.search.widening import searched_range

INCUMBENTS = 3
# A share of the best loss that counts as noise at least.
LEAST_NOISE = 0.01
# Losses are taken to vary by this share of the best at least, however alike the first few are.
LEAST_SPREAD = 0.1
# piBO (arXiv:2204.11051): the prior counts beta / n after n trials. Measured in replays of
# synthetic curves: 1 was as good as or better than 2, at little noise and at much.
PRIOR_BETA = 1.0
# What a shorter trial saves counts by this power: seconds are not all, trials are limited too, and
# at full weight a search stayed among short trials that hardly differ. In replays of made-up tasks
# (benchmarks/search/lengths.py) 0.25 to 1 could not be told apart at the end; with 1 twenty trials
# were cheaper by up to a quarter where longer ones are better.
LENGTH_COST = 0.5
# A model is told of so many trials at most, its own and others': what it costs grows with their
# square and more. Where many candidates are searched each has a model, and is told of fewer.
MOST_TOLD, LEAST_TOLD, TOLD_BY_ALL = 128, 64, 256
# Seconds of two trials with the same parameters differ by about this much.
TIMING_NOISE = 0.1


@dataclass(frozen=True)
class Known:
    """What all candidates' trials say together.

    Args:
        noise: Standard deviation of one loss.
        spread: How much the better losses differ.
        best: The lowest final loss of those that keep to the user's limit.
        rungs: How many a full trial has.
        epochs: Its epochs, where trials may have fewer.
    """

    noise: float = 0.0
    spread: float = 0.0
    best: float = math.inf
    rungs: int = 8
    epochs: float | None = None


@dataclass(frozen=True)
class Promise:
    """A configuration to try, and what is expected of it.

    Args:
        point: The configuration.
        log_gain: Log of the expected improvement on the best loss of all. Where trials may break
            a limit, of the improvement times the chance of keeping to it; of that chance alone
            where no trial has kept to it yet.
        log_seconds: Log of what it costs; 0 where nothing was timed.
    """

    point: Point
    log_gain: float
    log_seconds: float

    @property
    def score(self) -> float:
        """Log of the improvement a second."""
        return self.log_gain - self.log_seconds


@dataclass(frozen=True)
class Told:
    """Trials with the losses that a model is told of them."""

    trials: Sequence[Observation]
    losses: Vector

    def thinned(self, most: int) -> Told:
        """So many of them at most."""
        if len(self.trials) <= most:
            return self
        if most not in self._thinned:
            places = telling_places(self.trials, most)
            told = Told([self.trials[place] for place in places], self.losses[places])
            self._thinned[most] = told
        return self._thinned[most]

    @cached_property
    def _thinned(self) -> dict[int, Told]:
        return {}


@dataclass(frozen=True)
class Trials:
    """One candidate's trials, as models of it and of others are told of them.

    Args:
        axes: Its searched parameters.
        seen: Its trials, and what is known of one that nobody ran.
        full: The study's full budget.
    """

    axes: Axes
    seen: Sequence[Observation]
    full: Full

    def tells(self, axes: Axes) -> bool:
        """Whether its losses say something about a candidate: both have a rate of one name."""
        rates = (
            name for name, axis in self.axes.items() if isinstance(axis, Axis) and axis.is_rate
        )
        return bool(self.beside.trials) and any(isinstance(axes.get(one), Axis) for one in rates)

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """The range of each numeric parameter that is searched now."""
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
        ended = [one for one in self.seen if one.loss is not None]
        starts = {one.parameters.get(START) for one in ended if one.origin != UNTRAINED}
        candidates = [
            one
            for one in ended
            if one.origin != UNTRAINED or one.parameters.get(START) not in starts
        ]
        return heapq.nsmallest(INCUMBENTS, candidates, lambda one: one.rank)

    @cached_property
    def trained(self) -> int:
        """How many were trained and ended with a loss."""
        return sum(1 for one in self.seen if one.loss is not None and one.origin != UNTRAINED)

    @cached_property
    def few(self) -> list[Observation]:
        """All of them, or those that tell most."""
        return thinned(self.seen, MOST_TOLD)

    @cached_property
    def own(self) -> Told:
        """What its own model is told: how they ended, and how shorter ones would have."""
        return self._told([one for one in self.few if one.loss is not None or one.failed])

    @cached_property
    def beside(self) -> Told:
        """What other candidates' models are told."""
        ended = [one for one in self.few if one.loss is not None]
        return self._told([one for one in ended if one.origin != UNTRAINED])

    @cached_property
    def rows(self) -> Matrix:
        """The configurations of all of them, running ones too."""
        return Rows(self.axes).matrix([one.parameters for one in self.seen if one.parameters])

    @cached_property
    def ended(self) -> int:
        """How many have ended in a way that tells something."""
        return sum(1 for one in self.seen if one.loss is not None or one.failed)

    @cached_property
    def log_seconds(self) -> Surrogate | None:
        """A model of what a full trial would take; None where no trial was timed."""
        timed = [one for one in self.few if one.seconds > 0 and one.curve and one.loss is not None]
        if not timed:
            return None
        full = [one.seconds * self.full.rungs / max(one.curve) for one in timed]
        points = Rows(self.axes).matrix([one.parameters for one in timed])
        return Surrogate.fit(points, np.log(full), TIMING_NOISE, TIMING_NOISE)

    def _told(self, ended: Sequence[Observation]) -> Told:
        trials = [*ended, *shorter(ended, self.axes, self.full)]
        losses = [None if one.loss is None else self._end(one) for one in trials]
        # A failed trial is as bad as the worst that ended.
        worst = max((loss for loss in losses if loss is not None), default=1.0)
        filled = np.asarray([worst if loss is None else loss for loss in losses])
        return Told(trials, clipped(filled) if trials else filled)

    def _end(self, one: Observation) -> float:
        # A pruned trial would have ended where the completed ones did that were as far along.
        assert one.loss is not None
        if one.complete or not one.curve:
            return one.loss
        rung = max(one.curve)
        if (one.rungs, rung) not in self._shares:
            alike = [other for other in self._complete if other.rungs == one.rungs]
            shares = [final / early for early, final in ends(alike, rung) if early > 0]
            self._shares[one.rungs, rung] = float(np.median(shares)) if shares else 1.0
        return one.curve[rung] * self._shares[one.rungs, rung]

    @cached_property
    def _complete(self) -> list[Observation]:
        return [one for one in self.seen if one.complete][-MOST_TOLD:]

    @cached_property
    def _shares(self) -> dict[tuple[int, int], float]:
        return {}


@dataclass(frozen=True)
class Model:
    """Made for one decision.

    Args:
        own: The candidate's trials.
        log_priors: Log densities of configurations under the rules' prior.
        known: What all candidates' trials say.
        others: Other candidates, whose losses tell in which direction to go.
    """

    own: Trials
    log_priors: Callable[[Sequence[Point]], Vector]
    known: Known = field(default_factory=Known)
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
    def _told(self) -> tuple[Told, list[Told]]:
        """What it is told of its own trials, half of all together at least, and of others'."""
        most = self._most
        others = [other.beside for other in self._telling]
        own = self.own.own.thinned(max(most // 2, most - sum(len(one.trials) for one in others)))
        room, few_first = most - len(own.trials), sorted(others, key=lambda one: len(one.trials))
        limit = 0
        for before, one in enumerate(few_first):  # who has few leaves room to the rest
            limit = room // (len(others) - before)
            if len(one.trials) > limit:
                break
            room -= len(one.trials)
        return own, [one.thinned(limit) for one in others]

    def pick(self, draws: Sequence[Point]) -> Promise:
        """The draw that promises most for its cost."""
        rows = self._rows.matrix(draws)
        gains = self._log_gains(self._fitted, rows)
        costs, tried = self._log_shares(draws), self.own.rows
        alone = rows[:, : tried.shape[1]]
        if self.own.log_seconds is not None:
            costs = self.own.log_seconds.predict(alone)[0] + costs
        score = gains - costs + PRIOR_BETA / self.own.ended * self.log_priors(draws)
        best_first = np.argsort(-score, kind="stable")
        fresh = (k for k in best_first if not is_repeat(alone[k], tried))
        chosen = int(next(fresh, best_first[0]))
        return Promise(draws[chosen], float(gains[chosen]), float(costs[chosen]))

    def expected(self, points: Sequence[Point]) -> Vector:
        """The loss that each configuration is expected to end with; shape ``(n,)``."""
        return self._fitted.predict(self._rows.matrix(points))[0]

    def _log_gains(self, fitted: Surrogate, rows: Matrix) -> Vector:
        measured = [one for one in self.own.few if one.excess is not None]
        kept = [one for one in measured if one.keeps] if measured else self.own.few
        points = [one.parameters for one in kept if one.parameters]
        reached = float(fitted.predict(self._rows.matrix(points))[0].min()) if points else math.inf
        best = min(reached, self.known.best)
        chances = self._log_chances(measured, rows)
        if math.isinf(best):
            return chances
        gains: Vector = np.log(fitted.expected_improvement(rows, best) + 1e-300) + chances
        return gains

    def _log_chances(self, measured: Sequence[Observation], rows: Matrix) -> Vector:
        excess = np.asarray([one.excess or 0.0 for one in measured])
        if not (excess > 0).any():
            return np.zeros(len(rows))
        told = thinned(measured, self._most)
        points = self._rows.matrix([one.parameters for one in told])
        excess = np.asarray([one.excess or 0.0 for one in told])
        return log_chance(points, excess, rows, self._rows.groups())

    @cached_property
    def _fitted(self) -> Surrogate:
        own, others = self._told
        lowest = abs(float(own.losses.min()))
        noise = max(self.known.noise, LEAST_NOISE * lowest)
        spread = max(self.known.spread, LEAST_SPREAD * lowest)
        told = self._losses_at([one.parameters for one in own.trials], own.losses)
        for which, (other, theirs) in enumerate(zip(self._telling, others, strict=True)):
            told = told.and_also(self._from(other, which, theirs))
        groups = self._rows.groups()
        fitted = Surrogate.fit(told.points, told.losses, noise, spread, groups, told.whose)
        running = [one.parameters for one in self.own.few if one.running and one.parameters]
        if not running:
            return fitted
        # What runs now is believed to end as predicted, so that others differ from it.
        believed = fitted.predict(self._rows.matrix(running))[0]
        told = told.and_also(self._losses_at(running, believed))
        return Surrogate.fit(told.points, told.losses, noise, spread, groups, told.whose)

    def _losses_at(self, points: Sequence[Point], losses: Vector) -> _Points:
        return _Points(self._rows.matrix(points), losses, np.zeros(len(losses), dtype=np.int64))

    def _from(self, other: Trials, which: int, told: Told) -> _Points:
        return _Points(
            self._rows.seen_from_here(other.axes, [one.parameters for one in told.trials], which),
            told.losses,
            np.full(len(told.trials), which + 1, dtype=np.int64),
        )

    def _log_shares(self, draws: Sequence[Point]) -> Vector:
        # How much of a full trial each draw is.
        shares = [rungs_of(point, self.known) / self.known.rungs for point in draws]
        return LENGTH_COST * np.log(shares)

    def furthest(self, draws: Sequence[Point]) -> Point:
        """The draw that is least like any trial, for as long as trials are too few to model."""
        tried = self._rows.matrix([one.parameters for one in self.own.few])
        rows = self._rows.matrix(draws)
        distances = np.sqrt(((rows[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2))
        return draws[int(distances.min(axis=1).argmax())]


@dataclass(frozen=True)
class _Points:
    """Losses, where they were seen, and the candidate that each is of."""

    points: Matrix
    losses: Vector
    whose: Whose

    def and_also(self, more: _Points) -> _Points:
        return _Points(
            np.vstack([self.points, more.points]),
            np.concatenate([self.losses, more.losses]),
            np.concatenate([self.whose, more.whose]),
        )


def thinned(trials: Sequence[Observation], most: int) -> list[Observation]:
    """The trials that tell most, in their order: the best, the most recent, of the rest evenly."""
    return [trials[place] for place in telling_places(trials, most)]


def telling_places(trials: Sequence[Observation], most: int) -> list[int]:
    """Where the ``thinned`` trials stand."""
    if len(trials) <= most:
        return list(range(len(trials)))
    third = most // 3
    ranks, numbers = [one.rank for one in trials], [one.number for one in trials]
    best = heapq.nsmallest(third, range(len(trials)), ranks.__getitem__)
    by_number = sorted(range(len(trials)), key=numbers.__getitem__)
    kept = {*best, *by_number[len(trials) - third :]}
    rest = [place for place in by_number if place not in kept]
    evenly = np.linspace(0, len(rest) - 1, most - len(kept)).round().astype(int)
    return sorted(kept | {rest[place] for place in evenly})
