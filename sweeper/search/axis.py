"""One parameter on the unit interval of its allowed range, with best practice and prior on it.

Pure numbers: values in, values out. Knows nothing about trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy import special

from sweeper.plan import Parameter
from sweeper.spec import Scalar

Range = tuple[float, float]

# Without a prior of its own a parameter's best-practice range is taken as two standard
# deviations of one.
SPREADS_IN_PRACTICE = 2.0
# Rates decide most: with the learning rate tuned, variants of LoRA end within 1-2% of each other
# (arXiv:2602.04998), and the rank hardly moves the best rate (Schulman et al. 2025). Losses stay
# related over so many more lengths of the other parameters.
OTHERS_FACTOR = 2.5


@dataclass(frozen=True)
class Axis:
    """A numeric parameter; 0 and 1 are the bounds of the registered distribution."""

    name: str
    parameter: Parameter
    low: float
    high: float

    def _scale(self, value: float) -> float:
        return math.log(value) if self.parameter.log else value

    def unit(self, value: Scalar) -> float:
        """Where a value lies."""
        low, high = self._scale(self.low), self._scale(self.high)
        return 0.0 if high == low else (self._scale(float(value)) - low) / (high - low)

    def value(self, unit: float) -> Scalar:
        """The value that lies there, whole where the parameter is."""
        low, high = self._scale(self.low), self._scale(self.high)
        raw = low + min(1.0, max(0.0, unit)) * (high - low)
        number = math.exp(raw) if self.parameter.log else raw
        number = min(self.high, max(self.low, number))
        return round(number) if self.parameter.kind == "int" else number

    def from_default(self, value: Scalar) -> float:
        """How far a value lies from the default: in powers of e on a logarithmic scale."""
        return self._scale(float(value)) - self._scale(float(self.parameter.default))

    def away_from_default(self, distance: float) -> float:
        """The value that lies so far from the default, within the bounds or not."""
        raw = self._scale(float(self.parameter.default)) + distance
        return math.exp(raw) if self.parameter.log else raw

    @cached_property
    def practice(self) -> Range:
        """The best-practice range."""
        low = self.low if self.parameter.low is None else self.parameter.low
        high = self.high if self.parameter.high is None else self.parameter.high
        return self.unit(low), self.unit(high)

    @property
    def width(self) -> float:
        """Width of the best-practice range, never nothing."""
        return max(self.practice[1] - self.practice[0], 1e-3)

    @property
    def length(self) -> float:
        """How far apart losses are still related: the best-practice range, or half a decade."""
        scale = self._scale(self.high) - self._scale(self.low)
        half_decade = 0.5 * math.log(10) / max(scale, 1e-9) if self.parameter.log else 0.0
        return max(self.width, half_decade) * (1.0 if self.is_rate else OTHERS_FACTOR)

    @property
    def is_rate(self) -> bool:
        """Whether it is a rate: a real number on a logarithmic scale."""
        return self.parameter.log and self.parameter.kind == "float"

    @cached_property
    def prior(self) -> tuple[float, float]:
        """Centre and spread of the prior."""
        prior = self.parameter.prior
        given = prior.center if prior is not None else None
        center = self.unit(self.parameter.default if given is None else given)
        if prior is None or prior.spread is None:
            return center, self.width / SPREADS_IN_PRACTICE
        low, high = self._scale(self.low), self._scale(self.high)
        decades = prior.spread * math.log(10) if self.parameter.log else prior.spread
        return center, max(decades / max(high - low, 1e-9), 1e-3)

    def log_prior(self, unit: float) -> float:
        """Log density of the prior with Cauchy tails, so that a wrong one can be overruled."""
        center, spread = self.prior
        return -math.log(math.pi * spread * (1 + ((unit - center) / spread) ** 2))

    def draw_prior(self, within: Range, generator: np.random.Generator) -> float:
        """A draw from the prior, cut to a range."""
        return truncated(self.prior, within, generator)


def truncated(normal: tuple[float, float], within: Range, generator: np.random.Generator) -> float:
    """A draw from a normal density (centre, spread) cut to a range."""
    center, spread = normal
    low, high = within
    if high <= low:
        return low
    bounds = special.ndtr([(low - center) / spread, (high - center) / spread])
    if bounds[1] - bounds[0] < 1e-9:  # the range lies far in a tail
        return float(generator.uniform(low, high))
    quantile = generator.uniform(bounds[0], bounds[1])
    return float(np.clip(center + spread * special.ndtri(quantile), low, high))


@dataclass(frozen=True)
class Choice:
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

    def log_prior(self, value: Scalar) -> float:
        """Log weight of a choice; small for one outside of best practice."""
        return math.log(max(self.weights.get(value, 0.0), 0.01))

    def draw_prior(self, generator: np.random.Generator) -> Scalar:
        """A draw from the prior."""
        return self.pick(list(self.weights), list(self.weights.values()), generator)

    def draw_any(self, generator: np.random.Generator) -> Scalar:
        """A draw from all allowed choices alike."""
        return self.pick(list(self.choices), None, generator)

    @staticmethod
    def pick(
        choices: list[Scalar], weights: list[float] | None, generator: np.random.Generator
    ) -> Scalar:
        """One of them; kept apart from numpy's own choice, which would change their types."""
        return choices[int(generator.choice(len(choices), p=weights))]


def axis_of(name: str, parameter: Parameter, known: BaseDistribution) -> Axis | Choice:
    """The axis of a parameter under its registered distribution."""
    if isinstance(known, CategoricalDistribution):
        return Choice(name, parameter, tuple(known.choices))  # type: ignore[arg-type]
    low, high = float(known.low), float(known.high)  # type: ignore[attr-defined]
    return Axis(name, parameter, low, high)
