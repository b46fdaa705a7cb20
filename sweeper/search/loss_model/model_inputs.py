"""Configurations as rows of numbers, scaled so that the correlation length is 1.

Also of another candidate's configurations, seen from this one: what moves it away from its own
default moves this one's default alike. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.hyperparameters import EPOCHS
from sweeper.search.loss_model.axis import Axis, ChoiceAxis, numbers
from sweeper.search.loss_model.gaussian_process import Matrix, Vector
from sweeper.spec import Scalar

Axes = Mapping[str, Axis | ChoiceAxis]
Point = dict[str, Scalar]
# Of one parameter in several configurations; None where its condition does not hold.
Values = Sequence[Scalar | None]

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
        return self._matrix(points, [0.0] * self.others)

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

    def _matrix(self, points: Sequence[Mapping[str, Scalar]], apart: list[float]) -> Matrix:
        values = {name: [point.get(name) for point in points] for name in self.axes}
        return self._encoded(values, len(points), apart)

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
    known = numbers(values)
    # Where its condition does not hold: the centre, and apart from all that have it.
    without = np.isnan(known)
    units = np.where(without, axis.prior[0], axis.units(known))
    return np.column_stack([units / axis.length, CHOICE_DISTANCE * without])


def _choices(axis: ChoiceAxis, values: Values) -> Matrix:
    known = {value: _choice_row(axis, value) for value in {*values}}
    width = len(_choice_row(axis, None))
    return np.asarray([known[value] for value in values], dtype=float).reshape(-1, width)


def _choice_row(axis: ChoiceAxis, value: Scalar | None) -> list[float]:
    if all(isinstance(one, int | float) and one > 0 for one in axis.choices):
        octave = LENGTH_DISTANCE if axis.name == EPOCHS else OCTAVE_DISTANCE
        return [octave * math.log2(float(value or axis.parameter.default))]
    return [CHOICE_DISTANCE * (value == choice) for choice in axis.choices]


def is_repeat(row: Vector, points: Matrix) -> bool:
    """Whether a row is the same configuration as one of the points."""
    return bool((np.abs(points - row).max(axis=1) < SAME).any())
