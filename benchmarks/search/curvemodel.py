"""A surrogate of one strategy's recorded curves: losses at all rungs from a configuration.

Gaussian processes and random trees over the main shapes of the log curves, averaged.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.search.table import Floats, Recorded
from sweeper.search.loss_model.axes import Axis, ChoiceAxis
from sweeper.spec import Scalar

# Three shapes (level, speed, bend) hold nearly all of what log curves differ by.
SHAPES = 3
TREES = 100


@dataclass(frozen=True)
class Coordinates:
    """Configurations of one strategy as points of the unit cube; choices count as numbers."""

    axes: Mapping[str, Axis | ChoiceAxis]

    def points(self, configurations: Sequence[Mapping[str, Scalar]]) -> Floats:
        """Shape ``(configurations, axes)``."""
        return np.asarray([self._point(one) for one in configurations], dtype=float)

    def _point(self, one: Mapping[str, Scalar]) -> list[float]:
        return [_unit(axis, one.get(name)) for name, axis in self.axes.items()]


def _unit(axis: Axis | ChoiceAxis, value: Scalar | None) -> float:
    if value is None:
        return 0.5
    if isinstance(axis, Axis):
        return axis.unit(value)
    if all(isinstance(choice, int) for choice in axis.choices):  # batch sizes: powers of two
        logs = [math.log(float(choice)) for choice in axis.choices]
        return (math.log(float(value)) - min(logs)) / max(max(logs) - min(logs), 1e-9)
    return axis.choices.index(value) / max(len(axis.choices) - 1, 1)


@dataclass(frozen=True)
class CurveModel:
    """Fitted to one strategy.

    Args:
        coordinates: Of its configurations.
        mean: Mean log curve.
        shapes: Main directions of the log curves; shape ``(SHAPES, rungs)``.
        processes: One for each shape.
        trees: For all shapes.
        recorded: The trials behind it, in the order of ``points``.
        points: Where they lie, shape ``(trials, axes)``.
    """

    coordinates: Coordinates
    mean: Floats
    shapes: Floats
    processes: tuple[GaussianProcessRegressor, ...]
    trees: ExtraTreesRegressor
    recorded: tuple[Recorded, ...]
    points: Floats

    @classmethod
    def fit(cls, trials: Sequence[Recorded], curves: Floats, axes: Mapping[str, Axis | ChoiceAxis],
            seed: int = 0) -> CurveModel:  # fmt: skip
        """Fit to the log curves of trials; shape ``(trials, rungs)``, the last one the end."""
        coordinates = Coordinates(axes)
        points = coordinates.points([one.parameters for one in trials])
        mean = curves.mean(axis=0)
        shapes = np.linalg.svd(curves - mean, full_matrices=False)[2][:SHAPES]
        scores = (curves - mean) @ shapes.T
        processes = tuple(_process(points, column, seed) for column in scores.T)
        trees = ExtraTreesRegressor(TREES, random_state=seed).fit(points, scores)
        return cls(coordinates, mean, shapes, processes, trees, tuple(trials), points)

    def predict(self, configurations: Sequence[Mapping[str, Scalar]]) -> Floats:
        """Log curves without noise; shape ``(configurations, rungs)``."""
        at = self.coordinates.points(configurations)
        smooth = np.stack([process.predict(at) for process in self.processes], axis=1)
        scores = (smooth + self.trees.predict(at).reshape(smooth.shape)) / 2
        return np.asarray(self.mean + scores @ self.shapes)

    def nearest(self, parameters: Mapping[str, Scalar]) -> Recorded:
        """The completed trial that is most like a configuration, by what the trees split at."""
        at = self.coordinates.points([parameters])
        apart = ((self.points - at) ** 2) @ self.trees.feature_importances_
        for position in np.argsort(apart):
            recorded: Recorded = self.recorded[position]
            if recorded.complete:
                return recorded
        raise ValueError("no recorded trial of this strategy completed")


def _process(points: Floats, values: Floats, seed: int) -> GaussianProcessRegressor:
    # One length for all parameters: a few dozen trials do not carry one for each.
    size = max(float(values.std()), 1e-6)
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(1.0, (0.2, 10.0), nu=2.5)
    process = GaussianProcessRegressor(
        kernel + WhiteKernel(0.1, (1e-3, 1.0)), normalize_y=True, random_state=seed
    )
    with warnings.catch_warnings():  # a length at its bound: nothing that was varied matters
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points, values if size > 1e-6 else np.zeros_like(values))
    return process
