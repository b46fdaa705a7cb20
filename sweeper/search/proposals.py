"""Draws configurations of one candidate from the prior and near the best trials.

Four sources are mixed, as in PriorBand (arXiv:2306.12370): the rules' prior, the neighbourhood of
the best trials, the searched range, and the whole allowed range. A model picks among the draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sweeper.plans import Parameter
from sweeper.search.loss_model.axes import (
    Axis,
    ChoiceAxis,
    Point,
    cumulated,
    drawn,
    numbers,
    truncated,
)
from sweeper.search.loss_model.gaussian_process import Vector
from sweeper.search.loss_model.loss_model import LossModel, Promise, StudyLosses, Trials
from sweeper.search.optuna_space import holds
from sweeper.spec import Scalar

# Shares of the draws from the searched and from the allowed range, whatever the rest says.
SEARCHED_SHARE, ALLOWED_SHARE = 0.2, 0.05
# How much of the rest the prior has: it also weighs in when the model picks.
PRIOR_SHARE = 0.5
# About an incumbent one parameter is moved, and each other one with this probability: with few
# trials, moves of many parameters at once say little about any (replays of formulas).
MOVE_PROBABILITY = 0.2
# PriorBand moves by a quarter of the searched range; half of the moves go as far as the
# best-practice range is wide, and beyond its edges, so that a wrong prior is found out early.
NEAR_SPREAD = 0.25
WIDE_SHARE = 0.5
# Until so many trials of a strategy have ended, only its first rate is moved about the best one,
# by these shares of the distance over which losses are related: what an engineer does first. In
# replays of four formulas it cut the regret after five full budgets from 11.8 to 4.6%.
RATE_TRIALS = 3
RATE_STEPS = (-1.0, -0.5, 0.5, 1.0)
EARLY_DRAWS, DRAWS = 8, 128
# How likely a good configuration makes another choice than one that is known to be good.
OTHER_CHOICE = 0.3
# What an earlier study on the very same facts counts against the rules' prior. As that does, it
# fades as trials come in, and its tails are long.
EARLIER_SHARE = 0.5


@dataclass(frozen=True)
class TransferredPrior:
    """The best configuration of an earlier study, as a prior.

    Args:
        parameters: Parameters of its best trial.
        similarity: Similarity of its facts to this study's, 0 to 1.
    """

    parameters: Mapping[str, Scalar]
    similarity: float

    @property
    def share(self) -> float:
        """Its weight beside the rules' prior."""
        return EARLIER_SHARE * self.similarity

    def log_densities(
        self, axes: Mapping[str, Axis | ChoiceAxis], points: Sequence[Mapping[str, Scalar]]
    ) -> Vector:
        """Log density of configurations around the earlier best, as wide as the rules' prior."""
        total = np.zeros(len(points))
        for name, axis in axes.items():
            values = [point.get(name) for point in points]
            if name not in self.parameters:
                densities = axis.log_priors(values)
            elif isinstance(axis, ChoiceAxis):
                same = np.asarray([value == self.parameters[name] for value in values])
                densities = np.log(np.where(same, 1 - OTHER_CHOICE, OTHER_CHOICE))
            else:
                known, spread = numbers(values), axis.prior[1]
                away = axis.units(known) - axis.unit(self.parameters[name])
                densities = -np.log(math.pi * spread * (1 + (away / spread) ** 2))
            held = np.asarray([value is not None for value in values])
            total += np.where(held, densities, 0.0)
        return total


@dataclass(frozen=True)
class Proposals:
    """The draws for the next configuration of one candidate.

    Args:
        own: Its trials, and its searched parameters in the plan's order.
        generator: The only source of chance.
        constants: Values of the parameters that are not searched, which conditions may name.
        known: What all candidates' trials say about losses and costs.
        earlier: What an earlier study found best, beside the rules' prior.
        others: Other candidates of the study.
    """

    own: Trials
    generator: np.random.Generator
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    known: StudyLosses = field(default_factory=StudyLosses)
    earlier: TransferredPrior | None = None
    others: Sequence[Trials] = ()

    def best(self) -> Promise:
        """The configuration to try next."""
        model = LossModel(self.own, self.log_priors, self.known, self.others)
        if self.own.ended:
            scanning = self._rate is not None and self.own.trained < RATE_TRIALS
            draw = self._rate_step if scanning and self.own.incumbents else self._draw
            return model.pick([draw() for _ in range(DRAWS)])
        believed = [
            {name: self._believed(name, axis) for name, axis in self.own.axes.items()}
            for _ in range(EARLY_DRAWS)
        ]
        point = model.furthest([self._existing(point) for point in believed])
        return Promise(point, 0.0, 0.0)

    @cached_property
    def _rate(self) -> Axis | None:
        # The first rate: strategies list what decides most first.
        rates = (one for one in self.own.axes.values() if isinstance(one, Axis) and one.is_rate)
        return next(rates, None)

    def _rate_step(self) -> Point:
        around, rate = self.own.incumbents[0].parameters, self._rate
        assert rate is not None
        step = rate.length * float(self.generator.choice(RATE_STEPS))
        moved = {
            rate.name: rate.value(rate.unit(around.get(rate.name, rate.parameter.default)) + step)
        }
        rest = {name: self._believed(name, axis) for name, axis in self.own.axes.items()}
        return self._existing({**rest, **around, **moved})

    def log_priors(self, points: Sequence[Mapping[str, Scalar]]) -> Vector:
        """Log densities under the priors of rules and earlier studies; shape ``(n,)``."""
        total = np.zeros(len(points))
        for name, axis in self.own.axes.items():
            # Not a number where the parameter's condition does not hold.
            total += np.nan_to_num(axis.log_priors([point.get(name) for point in points]))
        if self.earlier is None:
            return total
        share = self.earlier.share
        about = math.log(share) + self.earlier.log_densities(self.own.axes, points)
        return np.logaddexp(math.log(1 - share) + total, about)

    @cached_property
    def _spreads(self) -> dict[str, float]:
        ranges = self.own.ranges.items()
        return {name: max(NEAR_SPREAD * (high - low), 1e-3) for name, (low, high) in ranges}

    def _draw(self) -> Point:
        chance = self.generator.random()
        if chance < ALLOWED_SHARE:
            point = {name: self._anywhere(axis) for name, axis in self.own.axes.items()}
        elif chance < ALLOWED_SHARE + SEARCHED_SHARE:
            point = {name: self._within(name, axis) for name, axis in self.own.axes.items()}
        elif not self.own.incumbents or self.generator.random() < PRIOR_SHARE:
            point = self._believed_point()
        else:
            point = self._near_incumbent()
        return self._existing(point)

    def _believed_point(self) -> Point:
        point = {name: self._believed(name, axis) for name, axis in self.own.axes.items()}
        if self.earlier is None or self.generator.random() >= self.earlier.share:
            return point
        for name, value in self.earlier.parameters.items():
            axis = self.own.axes.get(name)
            if isinstance(axis, Axis):
                around = (axis.unit(value), axis.prior[1])
                point[name] = axis.value(truncated(around, (0.0, 1.0), self.generator))
            elif axis is not None:
                point[name] = value
        return point

    @cached_property
    def _conditional(self) -> list[tuple[str, Parameter]]:
        named = [(name, axis.parameter) for name, axis in self.own.axes.items()]
        return [(name, parameter) for name, parameter in named if parameter.condition is not None]

    def _existing(self, point: Point) -> Point:
        kept: Point = {**self.constants, **point}
        for name, parameter in self._conditional:
            if not holds(parameter, kept):
                del kept[name]
        return {name: kept[name] for name in self.own.axes if name in kept}

    def _anywhere(self, axis: Axis | ChoiceAxis) -> Scalar:
        if isinstance(axis, ChoiceAxis):
            return axis.draw_any(self.generator)
        return axis.value(float(self.generator.random()))

    def _within(self, name: str, axis: Axis | ChoiceAxis) -> Scalar:
        if isinstance(axis, ChoiceAxis):
            return axis.draw_prior(self.generator)
        return axis.value(float(self.generator.uniform(*self.own.ranges[name])))

    def _believed(self, name: str, axis: Axis | ChoiceAxis) -> Scalar:
        if isinstance(axis, ChoiceAxis):
            return axis.draw_prior(self.generator)
        return axis.value(axis.draw_prior(self.own.ranges[name], self.generator))

    @cached_property
    def _by_rank(self) -> list[float]:
        return cumulated(range(len(self.own.incumbents), 0, -1))

    def _near_incumbent(self) -> Point:
        around = self.own.incumbents[drawn(self._by_rank, self.generator)].parameters
        names = list(self.own.axes)
        count = 1 + int(self.generator.binomial(len(names) - 1, MOVE_PROBABILITY))
        moved = {names[k] for k in self.generator.permutation(len(names))[:count]}
        fresh = {
            name: self._near(name, axis, around)
            for name, axis in self.own.axes.items()
            if name in moved or name not in around
        }
        return {**around, **fresh}

    def _near(self, name: str, axis: Axis | ChoiceAxis, around: Mapping[str, Scalar]) -> Scalar:
        if name not in around:  # its condition did not hold there
            return self._believed(name, axis)
        if isinstance(axis, ChoiceAxis):
            return axis.draw_prior(self.generator)
        low, high = self.own.ranges[name]
        center = axis.unit(around[name])
        if self.generator.random() < WIDE_SHARE:
            step = axis.width * self.generator.normal()
            return axis.value(min(1.0, max(0.0, center + step)))
        within = (min(low, center), max(high, center))
        return axis.value(truncated((center, self._spreads[name]), within, self.generator))
