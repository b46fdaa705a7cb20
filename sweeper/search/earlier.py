"""What an earlier study found best, as a belief beside the rules' prior. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.search.axis import Axis, Choice
from sweeper.spec import Scalar

# How likely a good configuration makes another choice than one that is known to be good.
OTHER_CHOICE = 0.3
# What an earlier study on the very same facts counts against the rules' prior. As that does, it
# fades as trials come in, and its tails are long.
EARLIER_SHARE = 0.5


@dataclass(frozen=True)
class Earlier:
    """What an earlier study found best.

    Args:
        parameters: Of its best trial.
        similarity: Of its facts to this study's, 0 to 1.
    """

    parameters: Mapping[str, Scalar]
    similarity: float

    @property
    def share(self) -> float:
        """Its weight beside the rules' prior."""
        return EARLIER_SHARE * self.similarity

    def log_density(self, axes: Mapping[str, Axis | Choice], point: Mapping[str, Scalar]) -> float:
        """Log density of a configuration about the earlier best, as wide as the rules' prior."""
        total = 0.0
        for name, axis in axes.items():
            if name not in point:
                continue
            if name not in self.parameters:
                total += axis.log_prior(place(axis, point[name]))  # type: ignore[arg-type]
            elif isinstance(axis, Choice):
                same = point[name] == self.parameters[name]
                total += math.log(1 - OTHER_CHOICE if same else OTHER_CHOICE)
            else:
                away = axis.unit(point[name]) - axis.unit(self.parameters[name])
                spread = axis.prior[1]
                total -= math.log(math.pi * spread * (1 + (away / spread) ** 2))
        return total


def place(axis: Axis | Choice, value: Scalar) -> Scalar:
    """Where a value lies on its axis, as the prior of the axis takes it."""
    return value if isinstance(axis, Choice) else axis.unit(value)
