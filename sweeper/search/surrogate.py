"""A Gaussian process over one candidate's parameters, small enough to be exact.

Inputs are axes scaled so that a distance of 1 is as far as losses are taken to be related; pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# What is tried for the distances along one parameter, from so many losses on, and how much better
# the losses must be explained for each doubling: fewer or weaker evidence would follow noise.
SCALES = (0.5, 2.0, 4.0)
FEWEST_FOR_SCALES = 5
SCALE_DOUBT = 0.5
# Losses further above the best than this many times the median's distance are all just bad: a
# diverged trial would otherwise flatten all differences that matter.
CLIP_FACTOR = 4.0


def clipped(losses: Vector) -> Vector:
    """Losses with the bad ones cut to where they stop telling anything."""
    best, middle = float(losses.min()), float(np.median(losses))
    return np.minimum(losses, best + CLIP_FACTOR * (middle - best)) if middle > best else losses


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
        points: Where losses are known, scaled; shape ``(n, d)``.
        scales: What distances along each column are multiplied by, shape ``(d,)``.
        mean: The loss far from all of them.
        variance: How much losses vary over the space.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (losses - mean).
        evidence: Log likelihood of the losses, up to a constant.
    """

    points: Matrix
    scales: Vector
    mean: float
    variance: float
    factor: tuple[Matrix, bool]
    weights: Vector
    evidence: float

    @classmethod
    def fit(
        cls,
        points: Matrix,
        losses: Vector,
        noise: float,
        spread: float = 0.0,
        groups: Sequence[slice] = (),
    ) -> Surrogate:
        """Fit to losses.

        Args:
            points: Shape ``(n, d)``.
            losses: Shape ``(n,)``.
            noise: Standard deviation of independent noise.
            spread: Losses are taken to vary by this much at least.
            groups: Columns of each parameter, whose distances are stretched or shrunk together
                where the losses clearly ask for it.
        """
        scales = np.ones(points.shape[1])
        fitted = cls._fit(points, losses, noise, spread, scales)
        if len(losses) < FEWEST_FOR_SCALES:
            return fitted
        for group in groups:
            for scale in SCALES:
                other = scales.copy()
                other[group] *= scale
                tried = cls._fit(points, losses, noise, spread, other)
                doubt = SCALE_DOUBT * abs(math.log2(scale))
                if tried.evidence - doubt > fitted.evidence:
                    fitted = replace(tried, evidence=tried.evidence - doubt)
            scales = fitted.scales
        return fitted

    @classmethod
    def _fit(
        cls, points: Matrix, losses: Vector, noise: float, spread: float, scales: Vector
    ) -> Surrogate:
        mean = float(np.median(losses))
        variance = max(float(np.var(losses)), (2 * noise) ** 2, spread**2, 1e-10)
        scaled = points * scales
        kernel = variance * matern(scaled, scaled)
        kernel[np.diag_indices_from(kernel)] += noise**2 + 1e-8 * variance
        factor = linalg.cho_factor(kernel, lower=True)
        weights = linalg.cho_solve(factor, losses - mean)
        evidence = -0.5 * float((losses - mean) @ weights)
        evidence -= float(np.log(np.diag(factor[0])).sum())
        return cls(scaled, scales, mean, variance, factor, weights, evidence)

    def predict(self, at: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the loss, shape ``(m,)`` each."""
        cross = self.variance * matern(at * self.scales, self.points)
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
