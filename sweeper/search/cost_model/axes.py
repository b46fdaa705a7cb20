"""Parameters as numbers for draws and cost models.

An axis is one parameter, with its allowed range mapped to the unit interval, and with its
best-practice range and prior. A row is an encoded configuration, scaled to a correlation length of
1. A configuration of another candidate is translated: its distance from its own default becomes
the row's distance from this candidate's default. Pure.
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

# Width of the best-practice range in standard deviations, for parameters without a prior.
# The planner's priors have half that standard deviation (``STDS_IN_RANGE``).
STDS_IN_BEST_PRACTICE = 2.0
# Factor on the correlation length of numeric parameters other than learning rates. Learning rates
# matter most: once they are tuned, variants of LoRA end within 1-2% of each other
# (arXiv:2602.04998), and the rank hardly moves the best rate (Schulman et al. 2025).
NOT_A_RATE_FACTOR = 2.5

# Distance between a row with a choice and a row without it. Choices can matter most: on the
# recorded task `intents` (benchmarks/search), the initialisation of the head matters more than its
# rate. After 8 trials, held-out trials of LoRA and of full fine-tuning were ranked better with 0.5
# than with 0.15: correlations of 0.28 against 0.13 and 0.60 against 0.46 on `intents`, of 0.45
# against 0.44 and 0.40 against 0.34 on `wellformed`.
CHOICE_DISTANCE = 0.5
# Distance per doubling of a parameter whose choices are all positive numbers, and per doubling of
# the epochs, which change the schedule and often the loss.
OCTAVE_DISTANCE, EPOCHS_DISTANCE = 0.1, 0.5
# Distance between the same configuration of two candidates: a correlation of 0.71. Distances from
# 0.35 to 1.2 gave equally good results in simulated searches, with 60 seeds, of four tasks that are
# formulas (benchmarks/findings.md). A third of the variation of their optima is due to candidates.
CANDIDATE_DISTANCE = 0.7
# Configurations that are closer than this in all parameters count as the same.
SAME_DISTANCE = 0.1


@dataclass(frozen=True)
class Axis:
    """A numeric parameter; positions 0 and 1 are the bounds of its allowed range."""

    name: str
    parameter: Parameter
    low: float
    high: float

    def _scale(self, value: float) -> float:
        return math.log(value) if self.parameter.log else value

    @cached_property
    def _scaled_bounds(self) -> Range:
        return self._scale(self.low), self._scale(self.high)

    def unit(self, value: Scalar) -> float:
        """The position of a value, from 0 to 1."""
        low, high = self._scaled_bounds
        return 0.0 if high == low else (self._scale(float(value)) - low) / (high - low)

    def units(self, values: Vector) -> Vector:
        """The positions of many values; NaN for NaN."""
        low, high = self._scaled_bounds
        scaled = np.log(values) if self.parameter.log else values
        return (scaled - low) / (high - low) if high != low else 0.0 * values

    def value(self, unit: float) -> Scalar:
        """The value at a position, rounded for whole numbers and steps."""
        low, high = self._scaled_bounds
        raw = low + min(1.0, max(0.0, unit)) * (high - low)
        number = math.exp(raw) if self.parameter.log else raw
        if self.parameter.step is not None:
            start = float(self.parameter.low or 0.0)
            number = start + round((number - start) / self.parameter.step) * self.parameter.step
        number = min(self.high, max(self.low, number))
        return round(number) if self.parameter.kind == "int" else number

    def distances(self, values: Vector) -> Vector:
        """Distances of values from the default; of their logs on a logarithmic scale."""
        scaled = np.log(values) if self.parameter.log else values
        return scaled - self._scale(float(self.parameter.default))

    def at_distances(self, distances: Vector) -> Vector:
        """The values at these distances from the default, also beyond the bounds."""
        raw = self._scale(float(self.parameter.default)) + distances
        return np.exp(raw) if self.parameter.log else raw

    @cached_property
    def best_practice(self) -> Range:
        """The best-practice range, as positions."""
        low = self.low if self.parameter.low is None else self.parameter.low
        high = self.high if self.parameter.high is None else self.parameter.high
        return self.unit(low), self.unit(high)

    @cached_property
    def width(self) -> float:
        """Width of the best-practice range, above 0."""
        return max(self.best_practice[1] - self.best_practice[0], 1e-3)

    @cached_property
    def length(self) -> float:
        """The correlation length of losses: the best-practice range, or half a decade if that is
        wider; longer if the parameter is not a learning rate."""
        scale = self._scaled_bounds[1] - self._scaled_bounds[0]
        half_decade = 0.5 * math.log(10) / max(scale, 1e-9) if self.parameter.log else 0.0
        return max(self.width, half_decade) * (1.0 if self.is_log_float else NOT_A_RATE_FACTOR)

    @cached_property
    def is_log_float(self) -> bool:
        """Whether it is a real number on a logarithmic scale, as learning rates are."""
        return self.parameter.log and self.parameter.kind == "float"

    @cached_property
    def prior(self) -> tuple[float, float]:
        """Centre and spread of the prior, as positions."""
        prior = self.parameter.prior
        given_center = prior.center if prior is not None else None
        center = self.unit(self.parameter.default if given_center is None else given_center)
        if prior is None or prior.spread is None:
            return center, self.width / STDS_IN_BEST_PRACTICE
        low, high = self._scaled_bounds
        decades = prior.spread * math.log(10) if self.parameter.log else prior.spread
        return center, max(decades / max(high - low, 1e-9), 1e-3)

    def log_priors(self, values: Sequence[Scalar | None]) -> Vector:
        """Log density of the prior with Cauchy tails, so that a wrong one can be overruled."""
        center, spread = self.prior
        units = self.units(numbers(values))
        return -np.log(math.pi * spread * (1 + ((units - center) / spread) ** 2))

    def draw_any(self, generator: np.random.Generator) -> Scalar:
        """A uniform draw from the allowed range."""
        return self.value(float(generator.random()))

    def draw_searched(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A uniform draw from a range of positions."""
        return self.value(float(generator.uniform(*within)))

    def draw_prior(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A draw from the prior, cut to a range of positions."""
        return self.value(truncated(self.prior, within, generator))


def numbers(values: Sequence[Scalar | None]) -> Vector:
    """Values of one parameter; NaN for None."""
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
    draw = center + spread * float(special.ndtri(generator.uniform(first, last)))
    return min(high, max(low, draw))


@dataclass(frozen=True)
class ChoiceAxis:
    """A categorical parameter with all allowed ``choices``."""

    name: str
    parameter: Parameter
    choices: tuple[Scalar, ...]

    @cached_property
    def weights(self) -> dict[Scalar, float]:
        """The prior over the best-practice choices, with sum 1; by default, the default counts
        double."""
        best_practice = self.parameter.choices or self.choices
        prior = self.parameter.prior
        if prior is not None and prior.weights is not None:
            prior_weights = dict(zip(best_practice, prior.weights, strict=False))
        else:
            prior_weights = {
                choice: 2.0 if choice == self.parameter.default else 1.0 for choice in best_practice
            }
        total = sum(prior_weights.values())
        return {choice: weight / total for choice, weight in prior_weights.items()}

    def log_priors(self, values: Sequence[Scalar | None]) -> Vector:
        """Log weights of choices, small outside of best practice; NaN for None."""
        logs: dict[Scalar | None, float] = {None: math.nan}
        for choice in self.choices:
            logs[choice] = math.log(max(self.weights.get(choice, 0.0), 0.01))
        return np.asarray([logs[value] for value in values])

    @cached_property
    def _cumulative_weights(self) -> list[float]:
        return cumulative(list(self.weights.values()))

    def draw_prior(self, within: Range, generator: np.random.Generator) -> Scalar:
        """A draw from the prior; the range is ignored."""
        return list(self.weights)[draw_index(self._cumulative_weights, generator)]

    draw_searched = draw_prior

    def draw_any(self, generator: np.random.Generator) -> Scalar:
        """A uniform draw from the allowed choices."""
        return self.choices[int(generator.integers(len(self.choices)))]


def cumulative(weights: Sequence[float]) -> list[float]:
    """Cumulative weights, scaled to end at 1."""
    sums = np.cumsum(weights)
    return [float(share) for share in sums / sums[-1]]


def draw_index(sums: Sequence[float], generator: np.random.Generator) -> int:
    """An index drawn by cumulative weights; ten times as fast as numpy's ``choice``."""
    return bisect.bisect_right(sums, generator.random())


def axis_of(name: str, parameter: Parameter, distribution: BaseDistribution) -> Axis | ChoiceAxis:
    """The axis of a parameter with an Optuna distribution: its allowed range."""
    if isinstance(distribution, CategoricalDistribution):
        return ChoiceAxis(name, parameter, tuple(distribution.choices))  # type: ignore[arg-type]
    low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
    return Axis(name, parameter, low, high)


Axes = Mapping[str, Axis | ChoiceAxis]
Point = dict[str, Scalar]
# Values of one parameter in several configurations; None if its condition does not hold.
Values = Sequence[Scalar | None]


@dataclass(frozen=True)
class Encoder:
    """Encodes configurations as rows for the model of one candidate.

    Args:
        axes: The candidate's searched parameters.
        others: Number of other candidates whose trials the model uses too.
    """

    axes: Axes
    others: int = 0

    def matrix(self, points: Sequence[Mapping[str, Scalar]]) -> Matrix:
        """Rows of the candidate's own configurations; shape ``(n, columns)``."""
        values = {name: [point.get(name) for point in points] for name in self.axes}
        return self._encoded(values, len(points), [0.0] * self.others)

    def translated_matrix(
        self, axes: Axes, points: Sequence[Mapping[str, Scalar]], position: int
    ) -> Matrix:
        """Rows of another candidate's configurations; shape ``(n, columns)``.

        Args:
            axes: The other's searched parameters.
            points: Its configurations.
            position: Number of the other candidate, from 0.
        """
        offsets = [CANDIDATE_DISTANCE * (number == position) for number in range(self.others)]
        return self._encoded(self._translated(axes, points), len(points), offsets)

    def _encoded(self, values: Mapping[str, Values], count: int, offsets: list[float]) -> Matrix:
        columns = [
            _choice_columns(axis, values[name])
            if isinstance(axis, ChoiceAxis)
            else _number_columns(axis, values[name])
            for name, axis in self.axes.items()
        ]
        return np.hstack([np.empty((count, 0)), *columns, np.tile(offsets, (count, 1))])

    def _translated(self, axes: Axes, points: Sequence[Mapping[str, Scalar]]) -> dict[str, Values]:
        values: dict[str, Values] = {}
        for name, axis in self.axes.items():
            other_axis, default = axes.get(name), axis.parameter.default
            if other_axis is None:
                values[name] = [default] * len(points)
            elif isinstance(axis, ChoiceAxis):
                values[name] = [point.get(name) for point in points]
            elif isinstance(other_axis, Axis) and other_axis.parameter.log == axis.parameter.log:
                distances = other_axis.distances(numbers([point.get(name) for point in points]))
                values[name] = axis.at_distances(distances).tolist()
            else:
                values[name] = [default if name in point else None for point in points]
        return values


def _number_columns(axis: Axis, values: Values) -> Matrix:
    values_as_numbers = numbers(values)
    # A row without a value gets the prior's centre, at a distance from all rows with a value.
    missing = np.isnan(values_as_numbers)
    units = np.where(missing, axis.prior[0], axis.units(values_as_numbers))
    return np.column_stack([units / axis.length, CHOICE_DISTANCE * missing])


def _choice_columns(axis: ChoiceAxis, values: Values) -> Matrix:
    rows = {value: _choice_row(axis, value) for value in {*values}}
    width = len(_choice_row(axis, None))
    return np.asarray([rows[value] for value in values], dtype=float).reshape(-1, width)


def _choice_row(axis: ChoiceAxis, value: Scalar | None) -> list[float]:
    if all(isinstance(each, int | float) and each > 0 for each in axis.choices):
        octave = EPOCHS_DISTANCE if axis.name == EPOCHS else OCTAVE_DISTANCE
        return [octave * math.log2(float(value or axis.parameter.default))]
    return [CHOICE_DISTANCE * (value == choice) for choice in axis.choices]


def is_repeat(row: Vector, rows: Matrix) -> bool:
    """Whether a row is nearly the same configuration as one of ``rows``."""
    return bool((np.abs(rows - row).max(axis=1) < SAME_DISTANCE).any())
