"""What one candidate's trials say about configurations that were not tried: a model of the loss.

A Gaussian process over the searched parameters, asked where an improvement is most likely, with
the rules' prior on its side for as long as trials are few. What other candidates' trials say about
the same parameters counts too: a task that wants a higher rate or another start wants it of most
strategies. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sweeper.search.axis import Axis
from sweeper.search.curves import ends
from sweeper.search.feasible import log_chance
from sweeper.search.length import rungs_of
from sweeper.search.observations import Observation
from sweeper.search.rows import Axes, Point, Rows, repeats
from sweeper.search.shorter import shorter
from sweeper.search.surrogate import Matrix, Surrogate, Vector, Whose, clipped
from sweeper.spec import Scalar

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
class Beside:
    """Another candidate of the study.

    Args:
        axes: Its searched parameters.
        seen: Its trials.
    """

    axes: Axes
    seen: Sequence[Observation]

    def tells(self, axes: Axes) -> bool:
        """Whether its losses say something about a candidate: both have a rate of one name."""
        rates = (
            name for name, axis in self.axes.items() if isinstance(axis, Axis) and axis.is_rate
        )
        ended = any(one.loss is not None for one in self.seen)
        return ended and any(isinstance(axes.get(name), Axis) for name in rates)


@dataclass(frozen=True)
class Model:
    """Made for one decision.

    Args:
        axes: The searched parameters.
        seen: The candidate's trials.
        log_prior: Log density of a configuration under the rules' prior.
        known: What all candidates' trials say.
        others: Other candidates, whose losses tell in which direction to go.
    """

    axes: Axes
    seen: Sequence[Observation]
    log_prior: Callable[[Mapping[str, Scalar]], float]
    known: Known = field(default_factory=Known)
    others: Sequence[Beside] = ()

    @cached_property
    def _telling(self) -> list[Beside]:
        return [other for other in self.others if other.tells(self.axes)]

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.axes, len(self._telling))

    def pick(self, draws: Sequence[Point]) -> Promise:
        """The draw that promises most for its cost."""
        ended = [one for one in self.seen if one.loss is not None or one.failed]
        fitted = self._fitted(ended)
        rows = self._rows.matrix(draws)
        points = self._rows.matrix([one.parameters for one in self.seen if one.parameters])
        gains = self._log_gains(fitted, rows)
        costs = self._log_seconds(rows) + self._log_shares(draws)
        priors = np.asarray([self.log_prior(point) for point in draws])
        score = gains - costs + PRIOR_BETA / len(ended) * priors
        score[repeats(rows, points)] -= 1e6
        chosen = int(score.argmax())
        return Promise(draws[chosen], float(gains[chosen]), float(costs[chosen]))

    def expected(self, points: Sequence[Point]) -> Vector:
        """The loss that each configuration is expected to end with; shape ``(n,)``."""
        ended = [one for one in self.seen if one.loss is not None or one.failed]
        return self._fitted(ended).predict(self._rows.matrix(points))[0]

    def _log_gains(self, fitted: Surrogate, rows: Matrix) -> Vector:
        measured = [one for one in self.seen if one.excess is not None]
        kept = [one for one in measured if one.keeps] if measured else self.seen
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
        points = self._rows.matrix([one.parameters for one in measured])
        return log_chance(points, excess, rows, self._rows.groups())

    def _fitted(self, ended: Sequence[Observation]) -> Surrogate:
        ended = [*ended, *shorter(ended, self.axes, self.known)]
        losses = clipped(_losses(ended, self.seen))
        lowest = abs(float(losses.min()))
        noise = max(self.known.noise, LEAST_NOISE * lowest)
        spread = max(self.known.spread, LEAST_SPREAD * lowest)
        points = self._rows.matrix([one.parameters for one in ended])
        told = _Told(points, losses, np.zeros(len(losses), dtype=np.int64))
        for which, other in enumerate(self._telling):
            told = told.and_also(self._from(other, which))
        groups = self._rows.groups()
        fitted = Surrogate.fit(told.points, told.losses, noise, spread, groups, told.whose)
        running = [one.parameters for one in self.seen if one.running and one.parameters]
        if not running:
            return fitted
        # What runs now is believed to end as predicted, so that others differ from it.
        coming = self._rows.matrix(running)
        believed = fitted.predict(coming)[0]
        told = told.and_also(_Told(coming, believed, np.zeros(len(coming), dtype=np.int64)))
        return Surrogate.fit(told.points, told.losses, noise, spread, groups, told.whose)

    def _from(self, other: Beside, which: int) -> _Told:
        ended = [one for one in other.seen if one.loss is not None]
        ended += shorter(ended, other.axes, self.known)
        parameters = [one.parameters for one in ended]
        return _Told(
            self._rows.seen_from_here(other.axes, parameters, which),
            clipped(_losses(ended, other.seen)),
            np.full(len(ended), which + 1, dtype=np.int64),
        )

    def _log_seconds(self, rows: Matrix) -> Vector:
        # What a full trial would take, from those that were timed.
        timed = [one for one in self.seen if one.seconds > 0 and one.curve and one.loss is not None]
        if not timed:
            return np.zeros(len(rows))
        full = [one.seconds * self.known.rungs / max(one.curve) for one in timed]
        points = self._rows.matrix([one.parameters for one in timed])
        fitted = Surrogate.fit(points, np.log(full), TIMING_NOISE, TIMING_NOISE)
        return fitted.predict(rows)[0]

    def _log_shares(self, draws: Sequence[Point]) -> Vector:
        # How much of a full trial each draw is.
        shares = [rungs_of(point, self.known) / self.known.rungs for point in draws]
        return LENGTH_COST * np.log(shares)

    def furthest(self, draws: Sequence[Point]) -> Point:
        """The draw that is least like any trial, for as long as trials are too few to model."""
        tried = self._rows.matrix([one.parameters for one in self.seen])
        rows = self._rows.matrix(draws)
        distances = np.sqrt(((rows[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2))
        return draws[int(distances.min(axis=1).argmax())]


@dataclass(frozen=True)
class _Told:
    """Losses, where they were seen, and the candidate that each is of."""

    points: Matrix
    losses: Vector
    whose: Whose

    def and_also(self, more: _Told) -> _Told:
        return _Told(
            np.vstack([self.points, more.points]),
            np.concatenate([self.losses, more.losses]),
            np.concatenate([self.whose, more.whose]),
        )


def _losses(ended: Sequence[Observation], seen: Sequence[Observation]) -> Vector:
    # A failed trial is as bad as the worst that ended.
    worst = max((_end(one, seen) for one in ended if one.loss is not None), default=1.0)
    return np.asarray([worst if one.loss is None else _end(one, seen) for one in ended])


def _end(one: Observation, seen: Sequence[Observation]) -> float:
    # A pruned trial would have ended where the completed ones did that were as far along.
    assert one.loss is not None
    if one.complete or not one.curve:
        return one.loss
    rung = max(one.curve)
    alike = [other for other in seen if other.rungs == one.rungs]
    shares = [final / early for early, final in ends(alike, rung) if early > 0]
    return one.curve[rung] * (float(np.median(shares)) if shares else 1.0)
