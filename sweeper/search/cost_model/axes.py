"""Parameters as numbers for draws and cost models.

An axis is one parameter on the unit interval of its allowed range, with best practice and prior on
it. Rows are configurations, scaled so that the correlation length is 1; also another candidate's,
seen from this one: what moves it away from its own default moves this one's default alike. Pure.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy import special

from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter
from sweeper.search.cost_model.gaussian_process import Matrix, Vector
from sweeper.spec import Scalar

Range = tuple[float, float]

# Without a prior, the best-practice range is two standard deviations of one. The planner gives
# every number a prior of half that spread (``SPREADS_IN_RANGE``); this is for other search spaces.
SPREADS_IN_PRACTICE = 2.0
# Rates decide most: with the learning rate tuned, variants of LoRA end within 1-2% of each other
# (arXiv:2602.04998), and the rank hardly moves the best rate (Schulman et al. 2025). Losses stay
# related over so many more lengths of the other parameters.
OTHERS_FACTOR = 2.5

# How far a choice is from none, and two sizes of which one is double. Choices can decide most: on
# recorded trials of 24 intents the start of the head decides more than its rate. There and on
# well-formed queries held-out trials were ranked better with 0.5 than with 0.15 (correlations of
# 0.28 for 0.13 and 0.60 for 0.46, of 0.45 for 0.44 and 0.40 for 0.34 with 8 trials told).
CHOICE_DISTANCE, OCTAVE_DISTANCE = 0.5, 0.1
# Twice the epochs are another schedule, and often another loss.
LENGTH_DISTANCE = 0.5
# How far another candidate's configuration is from the same one here: a correlation of 0.71. In
# replays of four formulas with 60 seeds, in which candidates' optima scatter by a third about what
# they share, 0.35 to 1.2 could not be told apart.
CANDIDATE_DISTANCE = 0.7
# Closer than this in all parameters is the same configuration again.
SAME = 0.1


@dataclass(frozen=True)
class Axis:
    """A numeric parameter; 0 and 1 are the bounds of the registered distribution."""

    name: str
    parameter: Parameter
    low: float
    high: float

    def _scale(self, value: float) -> float:
        return math.log(value) if self.parameter.log else value

    @cached_property
    def _ends(self) -> Range:
        return self._scale(self.low), self._scale(self.high)

    def unit(self, value: Scalar) -> float:
        """The position of a value, from 0 to 1."""
        low, high = self._ends
        return 0.0 if high == low else (self._scale(float(value)) - low) / (high - low)

    def units(self, values: Vector) -> Vector:
        """Where many values lie; not a number where one is not."""
        low, high = self._ends
        scaled = np.log(values) if self.parameter.log else values
        return (scaled - low) / (high - low) if high != low else 0.0 * values

    def value(self, unit: float) -> Scalar:
        """The value at a position, rounded for whole numbers and steps."""
        low, high = self._ends
        raw = low + min(1.0, max(0.0, unit)) * (high - low)
        number = math.exp(raw) if self.parameter.log else raw
        if self.parameter.step is not None:
            start = float(self.parameter.low or 0.0)
            number = start + round((number - start) / self.parameter.step) * self.parameter.step
        number = min(self.high, max(self.low, number))
        return round(number) if self.parameter.kind == "int" else number

    def from_default(self, values: Vector) -> Vector:
        """Distances of values from the default: in powers of e on a logarithmic scale."""
        scaled = np.log(values) if self.parameter.log else values
        return scaled - self._scale(float(self.parameter.default))

    def away_from_default(self, distances: Vector) -> Vector:
        """The values at these distances from the default, also beyond the bounds."""
        raw = self._scale(float(self.parameter.default)) + distances
        return np.exp(raw) if self.parameter.log else raw

    @cached_property
    def practice(self) -> Range:
        """The best-practice range."""
        low = self.low if self.parameter.low is None else self.parameter.low
        high = self.high if self.parameter.high is None else self.parameter.high
        return self.unit(low), self.unit(high)

    @cached_property
    def width(self) -> float:
        """Width of the best-practice range, above 0."""
        return max(self.practice[1] - self.practice[0], 1e-3)

    @cached_property
    def length(self) -> float:
        """The length scale of losses: the best-practice range, or half a decade."""
        scale = self._ends[1] - self._ends[0]
        half_decade = 0.5 * math.log(10) / max(scale, 1e-9) if self.parameter.log else 0.0
        return max(self.width, half_decade) * (1.0 if self.is_log_float else OTHERS_FACTOR)

    @cached_property
    def is_log_float(self) -> bool:
        """Whether it is a real number on a logarithmic scale, as learning rates are."""
        return self.parameter.log and self.parameter.kind == "float"

    @cached_property
    def prior(self) -> tuple[float, float]:
        """Centre and spread of the prior."""
        prior = self.parameter.prior
        given = prior.center if prior is not None else None
        center = self.unit(self.parameter.default if given is None else given)
        if prior is None or prior.spread is None:
            return center, self.width / SPREADS_IN_PRACTICE
        low, high = self._ends
        decades = prior.spread * math.log(10) if self.parameter.log else prior.spread
        return center, max(decades / max(high - low, 1e-9), 1e-3)

    def log_priors(self, values: Sequence[Scalar | None]) -> Vector:
        """Log density of the prior with Cauchy tails, so that a wrong one can be overruled."""
        center, spread = self.prior
        units = self.units(numbers(values))
        return -np.log(math.pi * spread * (1 + ((units - center) / spread) ** 2))

    def draw_any(self, generator: np.random.Generator) -> Scalar:
        """A draw from all allowed values alike."""
        return self.value(float(generator.random()))

    def draw_searched(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A draw from all values of a range alike."""
        return self.value(float(generator.uniform(*within)))

    def draw_prior(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A draw from the prior, cut to a range."""
        return self.value(truncated(self.prior, within, generator))


def numbers(values: Sequence[Scalar | None]) -> Vector:
    """Values of one parameter; not a number for None."""
    return np.asarray(values, dtype=float)


def truncated(normal: tuple[float, float], within: Range, generator: np.random.Generator) -> float:
    """A draw from a normal density (centre, spread) cut to a range."""
    center, spread = normal
    low, high = within
    if high <= low:
        return low
    first, last = (float(special.ndtr((end - center) / spread)) for end in within)
    if last - first < 1e-9:  # the range lies far in a tail
        return float(generator.uniform(low, high))
    drawn = center + spread * float(special.ndtri(generator.uniform(first, last)))
    return min(high, max(low, drawn))


@dataclass(frozen=True)
class ChoiceAxis:
    """A categorical parameter. Best practice is ``choices``; the default weighs double there."""

    name: str
    parameter: Parameter
    choices: tuple[Scalar, ...]

    @cached_property
    def weights(self) -> dict[Scalar, float]:
        """The prior over the best-practice choices, adding up to 1."""
        practice = self.parameter.choices or self.choices
        prior = self.parameter.prior
        if prior is not None and prior.weights is not None:
            given = dict(zip(practice, prior.weights, strict=False))
        else:
            given = {
                choice: 2.0 if choice == self.parameter.default else 1.0 for choice in practice
            }
        total = sum(given.values())
        return {choice: weight / total for choice, weight in given.items()}

    def log_priors(self, values: Sequence[Scalar | None]) -> Vector:
        """Log weights of choices, small outside of best practice; not a number for None."""
        logs: dict[Scalar | None, float] = {None: math.nan}
        for choice in self.choices:
            logs[choice] = math.log(max(self.weights.get(choice, 0.0), 0.01))
        return np.asarray([logs[value] for value in values])

    @cached_property
    def _cumulated(self) -> list[float]:
        return cumulated(list(self.weights.values()))

    def draw_prior(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A draw from the prior, which has no range."""
        return list(self.weights)[drawn(self._cumulated, generator)]

    draw_searched = draw_prior

    def draw_any(self, generator: np.random.Generator) -> Scalar:
        """A draw from all allowed choices alike."""
        return self.choices[int(generator.integers(len(self.choices)))]


def cumulated(weights: Sequence[float]) -> list[float]:
    """Weights added up, to 1."""
    sums = np.cumsum(weights)
    return [float(share) for share in sums / sums[-1]]


def drawn(sums: Sequence[float], generator: np.random.Generator) -> int:
    """A place drawn by cumulated weights, as numpy's own ``choice`` does in ten times the time."""
    return bisect.bisect_right(sums, generator.random())


def axis_of(name: str, parameter: Parameter, distribution: BaseDistribution) -> Axis | ChoiceAxis:
    """The axis of a parameter under its registered distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return ChoiceAxis(name, parameter, tuple(distribution.choices))  # type: ignore[arg-type]
    low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
    return Axis(name, parameter, low, high)


Axes = Mapping[str, Axis | ChoiceAxis]
Point = dict[str, Scalar]
# Of one parameter in several configurations; None where its condition does not hold.
Values = Sequence[Scalar | None]


@dataclass(frozen=True)
class Rows:
    """Rows for one candidate.

    Args:
        axes: Its searched parameters.
        others: How many other candidates are seen beside it.
    """

    axes: Axes
    others: int = 0

    def matrix(self, points: Sequence[Mapping[str, Scalar]]) -> Matrix:
        """Its own configurations; shape ``(n, columns)``."""
        values = {name: [point.get(name) for point in points] for name in self.axes}
        return self._encoded(values, len(points), [0.0] * self.others)

    def seen_from_here(
        self, axes: Axes, points: Sequence[Mapping[str, Scalar]], which: int
    ) -> Matrix:
        """Configurations of another candidate; shape ``(n, columns)``.

        Args:
            axes: The other's searched parameters.
            points: Its configurations.
            which: It is this one of the others, from 0.
        """
        apart = [CANDIDATE_DISTANCE * (number == which) for number in range(self.others)]
        return self._encoded(self._translated(axes, points), len(points), apart)

    def _encoded(self, values: Mapping[str, Values], count: int, apart: list[float]) -> Matrix:
        columns = [
            _choices(axis, values[name])
            if isinstance(axis, ChoiceAxis)
            else _numbers(axis, values[name])
            for name, axis in self.axes.items()
        ]
        return np.hstack([np.empty((count, 0)), *columns, np.tile(apart, (count, 1))])

    def _translated(self, axes: Axes, points: Sequence[Mapping[str, Scalar]]) -> dict[str, Values]:
        moved: dict[str, Values] = {}
        for name, axis in self.axes.items():
            there, default = axes.get(name), axis.parameter.default
            if there is None:
                moved[name] = [default] * len(points)
            elif isinstance(axis, ChoiceAxis):
                moved[name] = [point.get(name) for point in points]
            elif isinstance(there, Axis) and there.parameter.log == axis.parameter.log:
                away = there.from_default(numbers([point.get(name) for point in points]))
                moved[name] = axis.away_from_default(away).tolist()
            else:
                moved[name] = [default if name in point else None for point in points]
        return moved


def _numbers(axis: Axis, values: Values) -> Matrix:
    values_as_numbers = numbers(values)
    # Where its condition does not hold: the centre, and apart from all that have it.
    without = np.isnan(values_as_numbers)
    units = np.where(without, axis.prior[0], axis.units(values_as_numbers))
    return np.column_stack([units / axis.length, CHOICE_DISTANCE * without])


def _choices(axis: ChoiceAxis, values: Values) -> Matrix:
    rows = {value: _choice_row(axis, value) for value in {*values}}
    width = len(_choice_row(axis, None))
    return np.asarray([rows[value] for value in values], dtype=float).reshape(-1, width)


def _choice_row(axis: ChoiceAxis, value: Scalar | None) -> list[float]:
    if all(isinstance(each, int | float) and each > 0 for each in axis.choices):
        octave = LENGTH_DISTANCE if axis.name == EPOCHS else OCTAVE_DISTANCE
        return [octave * math.log2(float(value or axis.parameter.default))]
    return [CHOICE_DISTANCE * (value == choice) for choice in axis.choices]


def is_repeat(row: Vector, points: Matrix) -> bool:
    """Whether a row is the same configuration as one of the points."""
    return bool((np.abs(points - row).max(axis=1) < SAME).any())
