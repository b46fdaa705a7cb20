"""What an earlier study found best, as a belief beside the rules' prior. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.search.axis import Axis, Choice, Vector, numbers
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

    def log_densities(
        self, axes: Mapping[str, Axis | Choice], points: Sequence[Mapping[str, Scalar]]
    ) -> Vector:
        """Log density of configurations about the earlier best, as wide as the rules' prior."""
        total = np.zeros(len(points))
        for name, axis in axes.items():
            values = [point.get(name) for point in points]
            if name not in self.parameters:
                densities = axis.log_priors(values)
            elif isinstance(axis, Choice):
                same = np.asarray([value == self.parameters[name] for value in values])
                densities = np.log(np.where(same, 1 - OTHER_CHOICE, OTHER_CHOICE))
            else:
                known, spread = numbers(values), axis.prior[1]
                away = axis.units(known) - axis.unit(self.parameters[name])
                densities = -np.log(math.pi * spread * (1 + (away / spread) ** 2))
            held = np.asarray([value is not None for value in values])
            total += np.where(held, densities, 0.0)
        return total
