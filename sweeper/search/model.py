"""What one candidate's trials say about configurations that were not tried: a model of the loss.

A Gaussian process over the searched parameters, asked where an improvement is most likely, with
the rules' prior on its side for as long as trials are few. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeper.search.axis import Axis, Choice
from sweeper.search.curves import ends
from sweeper.search.feasible import log_chance
from sweeper.search.observations import Observation
from sweeper.search.surrogate import Matrix, Surrogate, Vector, clipped
from sweeper.spec import Scalar

Point = dict[str, Scalar]

# How far two choices are apart, and two sizes of which one is double, where 1 is as far as losses
# are taken to be related.
CHOICE_DISTANCE, OCTAVE_DISTANCE = 0.15, 0.1
# A share of the best loss that counts as noise at least.
LEAST_NOISE = 0.01
# Losses are taken to vary by this share of the best at least, however alike the first few are.
LEAST_SPREAD = 0.1
# piBO (arXiv:2204.11051): the prior counts beta / n after n trials. Measured in replays of
# synthetic curves: 1 was as good as or better than 2, at little noise and at much.
PRIOR_BETA = 1.0
# Seconds of two trials with the same parameters differ by about this much.
TIMING_NOISE = 0.1
# Closer than this in all parameters is the same configuration again.
SAME = 0.1


@dataclass(frozen=True)
class Known:
    """What all candidates' trials say together.

    Args:
        noise: Standard deviation of one loss.
        spread: How much the better losses differ.
        best: The lowest final loss of those that keep to the user's limit.
        rungs: How many a full trial has.
    """

    noise: float = 0.0
    spread: float = 0.0
    best: float = math.inf
    rungs: int = 8


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
class Model:
    """Made for one decision.

    Args:
        axes: The searched parameters.
        seen: The candidate's trials.
        log_prior: Log density of a configuration under the rules' prior.
        known: What all candidates' trials say.
    """

    axes: Mapping[str, Axis | Choice]
    seen: Sequence[Observation]
    log_prior: Callable[[Mapping[str, Scalar]], float]
    known: Known = field(default_factory=Known)

    def pick(self, draws: Sequence[Point]) -> Promise:
        """The draw that promises most for its cost."""
        ended = [one for one in self.seen if one.loss is not None or one.failed]
        fitted = self._fitted(ended)
        rows = self._matrix(draws)
        points = self._matrix([one.parameters for one in self.seen if one.parameters])
        gains = self._log_gains(fitted, rows)
        costs = self._log_seconds(rows)
        priors = np.asarray([self.log_prior(point) for point in draws])
        score = gains - costs + PRIOR_BETA / len(ended) * priors
        score[repeats(rows, points)] -= 1e6
        chosen = int(score.argmax())
        return Promise(draws[chosen], float(gains[chosen]), float(costs[chosen]))

    def _log_gains(self, fitted: Surrogate, rows: Matrix) -> Vector:
        measured = [one for one in self.seen if one.excess is not None]
        kept = [one for one in measured if one.keeps] if measured else self.seen
        points = [one.parameters for one in kept if one.parameters]
        reached = float(fitted.predict(self._matrix(points))[0].min()) if points else math.inf
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
        points = self._matrix([one.parameters for one in measured])
        return log_chance(points, excess, rows, self._groups())

    def _fitted(self, ended: Sequence[Observation]) -> Surrogate:
        losses = clipped(self._losses(ended))
        lowest = abs(float(losses.min()))
        noise = max(self.known.noise, LEAST_NOISE * lowest)
        spread = max(self.known.spread, LEAST_SPREAD * lowest)
        points = self._matrix([one.parameters for one in ended])
        fitted = Surrogate.fit(points, losses, noise, spread, self._groups())
        running = [one.parameters for one in self.seen if one.running and one.parameters]
        if not running:
            return fitted
        # What runs now is believed to end as predicted, so that others differ from it.
        coming = self._matrix(running)
        losses = np.concatenate([losses, fitted.predict(coming)[0]])
        return Surrogate.fit(np.vstack([points, coming]), losses, noise, spread, self._groups())

    def _log_seconds(self, rows: Matrix) -> Vector:
        # What a full trial would take, from those that were timed.
        timed = [one for one in self.seen if one.seconds > 0 and one.curve and one.loss is not None]
        if not timed:
            return np.zeros(len(rows))
        full = [one.seconds * self.known.rungs / max(one.curve) for one in timed]
        points = self._matrix([one.parameters for one in timed])
        fitted = Surrogate.fit(points, np.log(full), TIMING_NOISE, TIMING_NOISE)
        return fitted.predict(rows)[0]

    def furthest(self, draws: Sequence[Point]) -> Point:
        """The draw that is least like any trial, for as long as trials are too few to model."""
        tried = self._matrix([one.parameters for one in self.seen])
        rows = self._matrix(draws)
        distances = np.sqrt(((rows[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2))
        return draws[int(distances.min(axis=1).argmax())]

    def _losses(self, known: Sequence[Observation]) -> Vector:
        # A failed trial is as bad as the worst that ended.
        worst = max((self._end(one) for one in known if one.loss is not None), default=1.0)
        return np.asarray([worst if one.loss is None else self._end(one) for one in known])

    def _end(self, one: Observation) -> float:
        # A pruned trial would have ended where the completed ones did that were as far along.
        assert one.loss is not None
        if one.complete or not one.curve:
            return one.loss
        rung = max(one.curve)
        shares = [final / early for early, final in ends(self.seen, rung) if early > 0]
        return one.curve[rung] * (float(np.median(shares)) if shares else 1.0)

    def _matrix(self, points: Sequence[Mapping[str, Scalar]]) -> Matrix:
        return np.asarray([self._row(point) for point in points], dtype=float)

    def _groups(self) -> list[slice]:
        widths = [
            len(_choice(axis, None)) if isinstance(axis, Choice) else 2
            for axis in self.axes.values()
        ]
        ends = np.cumsum(widths)
        return [slice(int(end) - width, int(end)) for end, width in zip(ends, widths, strict=True)]

    def _row(self, point: Mapping[str, Scalar]) -> list[float]:
        row: list[float] = []
        for name, axis in self.axes.items():
            if isinstance(axis, Choice):
                row += _choice(axis, point.get(name))
            elif name in point:
                row += [axis.unit(point[name]) / axis.length, 0.0]
            else:  # its condition does not hold there: the centre, and apart from all that have it
                row += [axis.prior[0] / axis.length, CHOICE_DISTANCE]
        return row


def _choice(axis: Choice, value: Scalar | None) -> list[float]:
    if all(isinstance(one, int | float) and one > 0 for one in axis.choices):
        return [OCTAVE_DISTANCE * math.log2(float(value or axis.parameter.default))]
    return [CHOICE_DISTANCE * (value == choice) for choice in axis.choices]


def repeats(rows: Matrix, points: Matrix) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows are the same configuration as one of the points; shape ``(len(rows),)``."""
    apart = np.abs(rows[:, None, :] - points[None, :, :]).max(axis=2)
    return np.asarray((apart < SAME).any(axis=1))
