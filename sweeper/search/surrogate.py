"""A Gaussian process over one candidate's parameters, small enough to be exact.

Inputs are axes scaled so that a distance of 1 is as far as losses are taken to be related; pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def matern(first: Matrix, second: Matrix) -> Matrix:
    """Matern 5/2 kernel with unit length and variance; shapes ``(n, d)`` and ``(m, d)``.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 4.17.
    """
    squares = ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=2)
    scaled = np.sqrt(5 * squares)
    kernel: Matrix = (1 + scaled + 5 * squares / 3) * np.exp(-scaled)
    return kernel


@dataclass(frozen=True)
class Surrogate:
    """A fitted process.

    Args:
        points: Where losses are known, shape ``(n, d)``.
        mean: The loss far from all of them.
        variance: How much losses vary over the space.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (losses - mean).
    """

    points: Matrix
    mean: float
    variance: float
    factor: tuple[Matrix, bool]
    weights: Vector

    @classmethod
    def fit(cls, points: Matrix, losses: Vector, noise: float) -> Surrogate:
        """Fit to losses with independent noise of that standard deviation."""
        mean = float(np.median(losses))
        variance = max(float(np.var(losses)), (2 * noise) ** 2, 1e-10)
        kernel = variance * matern(points, points)
        kernel[np.diag_indices_from(kernel)] += noise**2 + 1e-8 * variance
        factor = linalg.cho_factor(kernel, lower=True)
        return cls(points, mean, variance, factor, linalg.cho_solve(factor, losses - mean))

    def predict(self, at: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the loss, shape ``(m,)`` each."""
        cross = self.variance * matern(at, self.points)
        mean = self.mean + cross @ self.weights
        solved = linalg.cho_solve(self.factor, cross.T)
        variance = self.variance - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, at: Matrix, best: float) -> Vector:
        """How far below ``best`` the loss is expected to fall, shape ``(m,)``.

        Source: Jones, Schonlau and Welch 1998, equation 15.
        """
        mean, deviation = self.predict(at)
        score = (best - mean) / deviation
        density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
        improvement: Vector = deviation * (score * special.ndtr(score) + density)
        return improvement
