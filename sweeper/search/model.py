"""What one candidate's trials say about configurations that were not tried: a model of the loss.

A Gaussian process over the searched parameters, asked where an improvement is most likely, with
the rules' prior on its side for as long as trials are few. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.search.axis import Axis, Choice
from sweeper.search.curves import ends
from sweeper.search.observations import Observation
from sweeper.search.surrogate import Matrix, Surrogate, Vector
from sweeper.spec import Scalar

Point = dict[str, Scalar]

# How far two choices are apart, where 1 is as far as losses are taken to be related.
CHOICE_DISTANCE = 0.5
# A share of the best loss that counts as noise at least.
LEAST_NOISE = 0.01
# Losses further above the best than this many times the median's distance are all just bad: a
# diverged trial would otherwise flatten all differences that matter.
CLIP_FACTOR = 4.0
# piBO (arXiv:2204.11051): the prior counts beta / n after n trials. Measured in replays of
# synthetic curves: 1 was as good as or better than 2, at little noise and at much.
PRIOR_BETA = 1.0
# Closer than this in all parameters is the same configuration again.
SAME = 0.1


@dataclass(frozen=True)
class Model:
    """Made for one decision.

    Args:
        axes: The searched parameters.
        seen: The candidate's trials.
        log_prior: Log density of a configuration under the rules' prior.
        noise: Standard deviation of one loss, as the curves show it.
    """

    axes: Mapping[str, Axis | Choice]
    seen: Sequence[Observation]
    log_prior: Callable[[Mapping[str, Scalar]], float]
    noise: float = 0.0

    def pick(self, draws: Sequence[Point]) -> Point:
        """The draw that promises most."""
        known = [one for one in self.seen if one.loss is not None or one.failed]
        losses = clipped(self._losses(known))
        noise = max(self.noise, LEAST_NOISE * abs(float(losses.min())))
        points = self._matrix([one.parameters for one in known])
        fitted = Surrogate.fit(points, losses, noise)
        running = [one.parameters for one in self.seen if one.running and one.parameters]
        if running:  # what runs now is believed to end as predicted, so that others differ from it
            coming = self._matrix(running)
            points = np.vstack([points, coming])
            fitted = Surrogate.fit(
                points, np.concatenate([losses, fitted.predict(coming)[0]]), noise
            )
        rows = self._matrix(draws)
        best = float(fitted.predict(points)[0].min())
        gains = np.log(fitted.expected_improvement(rows, best) + 1e-300)
        priors = np.asarray([self.log_prior(point) for point in draws])
        score = gains + PRIOR_BETA / len(known) * priors
        score[repeats(rows, points)] -= 1e6
        return draws[int(score.argmax())]

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

    def _row(self, point: Mapping[str, Scalar]) -> list[float]:
        row: list[float] = []
        for name, axis in self.axes.items():
            if isinstance(axis, Choice):
                row += [CHOICE_DISTANCE * (point.get(name) == choice) for choice in axis.choices]
            elif name in point:
                row += [axis.unit(point[name]) / axis.length, 0.0]
            else:  # its condition does not hold there: the centre, and apart from all that have it
                row += [axis.prior[0] / axis.length, CHOICE_DISTANCE]
        return row


def clipped(losses: Vector) -> Vector:
    """Losses with the bad ones cut to where they stop telling anything."""
    best, middle = float(losses.min()), float(np.median(losses))
    return np.minimum(losses, best + CLIP_FACTOR * (middle - best)) if middle > best else losses


def repeats(rows: Matrix, points: Matrix) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows are the same configuration as one of the points; shape ``(len(rows),)``."""
    apart = np.abs(rows[:, None, :] - points[None, :, :]).max(axis=2)
    return np.asarray((apart < SAME).any(axis=1))
