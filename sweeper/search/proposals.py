"""Draws configurations of one candidate from what is believed and from what was seen.

Three sources are mixed, as in PriorBand (arXiv:2306.12370): the rules' prior, the neighbourhood
of the best trials, and the whole range; how far the prior is trusted follows from how likely the
best trials are under it. A density model of good against bad trials, weighted by a prior that
fades (piBO, arXiv:2204.11051), picks among the draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from sweeper.search.axis import Axis, Choice, Range, truncated
from sweeper.search.curves import ends
from sweeper.search.observations import Observation
from sweeper.search.surrogate import Matrix, Surrogate, Vector
from sweeper.search.widening import searched_range
from sweeper.spec import Scalar

Point = dict[str, Scalar]

# Shares of draws from the searched and from the whole allowed range, whatever the rest says.
UNIFORM_SHARE, ALLOWED_SHARE = 0.4, 0.1
# PriorBand perturbs each parameter with probability 1/2 and a spread of a quarter of its range.
PERTURB_PROBABILITY, PERTURB_SPREAD = 0.5, 0.25
INCUMBENTS = 3
# The density model needs some trials of both kinds before it says anything.
FEWEST_FOR_MODEL = 2
DRAWS = 128
OTHER_CHOICE = 0.3
CHOICE_DISTANCE = 0.5
LEAST_NOISE = 0.01
# piBO's beta: the prior's log density counts beta / n after n trials.
PRIOR_BETA = 2.0


@dataclass(frozen=True)
class Proposals:
    """Where to look next for one candidate.

    Args:
        axes: Its searched parameters, in the plan's order.
        seen: Its trials.
        generator: The only source of chance.
    """

    axes: Mapping[str, Axis | Choice]
    seen: Sequence[Observation]
    generator: np.random.Generator
    noise: float = 0.0

    def best(self) -> Point:
        """The configuration to try next."""
        ended = [one for one in self.seen if one.loss is not None or one.failed]
        if len(ended) < FEWEST_FOR_MODEL:
            return self._draw()
        return self._model_best([self._draw() for _ in range(DRAWS)])

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
        """The best trials, best first."""
        ended = [one for one in self.seen if one.loss is not None]
        return sorted(ended, key=lambda one: one.rank)[:INCUMBENTS]

    def _draw(self) -> Point:
        chance = self.generator.random()
        if chance < ALLOWED_SHARE:
            return self._uniform(whole=True)
        if chance < ALLOWED_SHARE + UNIFORM_SHARE:
            return self._uniform(whole=False)
        if self.generator.random() < self.trust:
            return self._from_prior()
        return self._near_incumbent()

    @cached_property
    def trust(self) -> float:
        """The share of the prior against the incumbents: how well it foretells the best trials."""
        if len(self.incumbents) < 2:
            return 1.0
        ranks = np.arange(len(self.incumbents), 0, -1, dtype=float)
        believed = [math.exp(self._log_prior(one.parameters)) for one in self.incumbents]
        around = [math.exp(self._log_near(one)) for one in self.incumbents]
        prior, near = float(ranks @ believed), float(ranks @ around)
        return prior / (prior + near) if prior + near > 0 else 0.0

    def _log_prior(self, point: Mapping[str, Scalar]) -> float:
        return sum(_log_prior(axis, point[name]) for name, axis in self._shared(point))

    def _shared(self, point: Mapping[str, Scalar]) -> list[tuple[str, Axis | Choice]]:
        return [(name, axis) for name, axis in self.axes.items() if name in point]

    def _log_near(self, one: Observation) -> float:
        # How likely this incumbent is from the neighbourhoods of the others.
        others = [other for other in self.incumbents if other is not one]
        rows = [self._log_kernel(one.parameters, other.parameters) for other in others]
        return float(special.logsumexp(rows)) - math.log(len(rows))

    def _uniform(self, *, whole: bool) -> Point:
        point: Point = {}
        for name, axis in self.axes.items():
            if isinstance(axis, Choice):
                draw = axis.draw_any if whole else axis.draw_prior
                point[name] = draw(self.generator)
            else:
                bounds = (0.0, 1.0) if whole else self.ranges[name]
                point[name] = axis.value(float(self.generator.uniform(*bounds)))
        return point

    def _from_prior(self) -> Point:
        return {name: self._prior_value(name, axis) for name, axis in self.axes.items()}

    def _prior_value(self, name: str, axis: Axis | Choice) -> Scalar:
        if isinstance(axis, Choice):
            return axis.draw_prior(self.generator)
        return axis.value(axis.draw_prior(self.ranges[name], self.generator))

    def _near_incumbent(self) -> Point:
        ranks = np.arange(len(self.incumbents), 0, -1, dtype=float)
        chosen = int(self.generator.choice(len(self.incumbents), p=ranks / ranks.sum()))
        return {
            name: self._near(name, axis, self.incumbents[chosen].parameters)
            for name, axis in self.axes.items()
        }

    def _near(self, name: str, axis: Axis | Choice, around: Mapping[str, Scalar]) -> Scalar:
        perturb = self.generator.random() < PERTURB_PROBABILITY
        if name not in around:  # its condition did not hold there
            return self._prior_value(name, axis)
        if isinstance(axis, Choice):
            return axis.draw_prior(self.generator) if perturb else around[name]
        if not perturb:
            return around[name]
        low, high = self.ranges[name]
        center = axis.unit(around[name])
        spread = PERTURB_SPREAD * (high - low)
        within = (min(low, center), max(high, center))
        return axis.value(truncated((center, max(spread, 1e-3)), within, self.generator))

    def _model_best(self, draws: list[Point]) -> Point:
        # The process is asked at the draws; the prior's log density fades with 1/n as in piBO.
        known = [one for one in self.seen if one.loss is not None or one.failed]
        losses = self._losses(known)
        noise = max(self.noise, LEAST_NOISE * abs(float(losses.min())))
        fitted = Surrogate.fit(self._matrix([o.parameters for o in known]), losses, noise)
        running = [one.parameters for one in self.seen if one.running and one.parameters]
        if running:  # what runs now is believed to come out as predicted, so that others differ
            believed = fitted.predict(self._matrix(running))[0]
            points = np.vstack([fitted.points, self._matrix(running)])
            fitted = Surrogate.fit(points, np.concatenate([losses, believed]), noise)
        gains = fitted.expected_improvement(self._matrix(draws), float(fitted.predict(fitted.points)[0].min()))
        prior = np.asarray([self._log_prior(point) for point in draws])
        score = np.log(gains + 1e-300) + PRIOR_BETA / len(known) * prior
        return draws[int(score.argmax())]

    def _losses(self, known: Sequence[Observation]) -> Vector:
        # A pruned trial ends where the completed ones did that were as far along; a failed one is
        # as bad as the worst.
        ends = [self._end(one) for one in known if one.loss is not None]
        worst = max(ends, default=1.0)
        return np.asarray([worst if one.loss is None else self._end(one) for one in known])

    def _end(self, one: Observation) -> float:
        assert one.loss is not None
        if one.complete or not one.curve:
            return one.loss
        rung = max(one.curve)
        pairs = ends(self.seen, rung)
        shares = [final / early for early, final in pairs if early > 0]
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
            else:  # its condition does not hold there: as far from all values alike
                row += [axis.prior[0] / axis.length, CHOICE_DISTANCE]
        return row

    def _log_kernel(self, point: Mapping[str, Scalar], around: Mapping[str, Scalar]) -> float:
        # A product of normal kernels over the searched ranges and of "same choice or another".
        total = 0.0
        for name, axis in self._shared(point):
            if name not in around:
                continue
            if isinstance(axis, Choice):
                same = point[name] == around[name]
                total += math.log(1 - OTHER_CHOICE if same else OTHER_CHOICE)
            else:
                low, high = self.ranges[name]
                spread = max(PERTURB_SPREAD * (high - low), 1e-3)
                distance = (axis.unit(point[name]) - axis.unit(around[name])) / spread
                total -= 0.5 * distance**2 + math.log(spread * math.sqrt(2 * math.pi))
        return total


def _log_prior(axis: Axis | Choice, value: Scalar) -> float:
    return axis.log_prior(value) if isinstance(axis, Choice) else axis.log_prior(axis.unit(value))
