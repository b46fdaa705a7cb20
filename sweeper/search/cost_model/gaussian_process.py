"""An exact Gaussian process over one candidate's parameters.

Costs of other candidates can be added, each candidate with an unknown level of its own: a
multi-task kernel as in Bonilla, Chai and Williams 2008 (Multi-task Gaussian process prediction),
with a fixed covariance of tasks. Inputs are scaled to a correlation length of 1; pure.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

Vector = NDArray[np.float64]
Owners = NDArray[np.int64]
Matrix = NDArray[np.float64]

# Least standard deviation of candidates' levels, as a share of the standard deviation of one
# candidate's costs. In replays of four formulas, 0.5, 1 and 2 did not differ.
LEVEL_SHARE = 1.0
# Costs are clipped at this multiple of the median's distance above the best: a diverged trial would
# otherwise flatten all relevant differences.
CLIP_FACTOR = 4.0


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """A context that limits linear algebra to one thread: for 128 rows more threads mostly wait.

    Measured on two cores, after 500 trials: a choice took 0.45 CPU seconds with two threads and
    0.02 with one.
    """
    context: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return context


def clipped(costs: Vector) -> Vector:
    """The costs, with high costs clipped (``CLIP_FACTOR``)."""
    best, middle = float(costs.min()), float(np.median(costs))
    return np.minimum(costs, best + CLIP_FACTOR * (middle - best)) if middle > best else costs


def matern(first: Matrix, second: Matrix) -> Matrix:
    """Matern 5/2 kernel with unit length and variance; shapes ``(n, d)`` and ``(m, d)``.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 4.17.
    """
    # In place, as temporary matrices take longer than the arithmetic.
    scaled: Matrix = 5 * cdist(first, second, "sqeuclidean")
    kernel: Matrix = scaled / 3
    np.sqrt(scaled, out=scaled)
    kernel += scaled
    kernel += 1
    np.negative(scaled, out=scaled)
    kernel *= np.exp(scaled, out=scaled)
    return kernel


def _level(costs: Vector, owners: Owners, variance: float) -> float:
    # Variance of the candidates' levels: of their medians, and at least a share of the spread.
    middle = float(np.median(costs[owners == 0]))
    offsets = [
        middle - float(np.median(costs[owners == level])) for level in set(owners.tolist()) - {0}
    ]
    return max([LEVEL_SHARE**2 * variance, *(level**2 for level in offsets)]) if offsets else 0.0


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Args:
        points: Rows with known costs, shape ``(n, d)``.
        owners: The candidate of each row, 0 for the modelled one; shape ``(n,)``.
        mean: Prior mean of costs.
        variance: Prior variance of costs.
        level: Prior variance of candidates' levels; 0 with a single candidate.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (costs - mean).
    """

    points: Matrix
    owners: Owners
    mean: float
    variance: float
    level: float
    factor: tuple[Matrix, bool]
    weights: Vector

    @classmethod
    def fit(
        cls,
        points: Matrix,
        costs: Vector,
        noise: float,
        spread: float = 0.0,
        owners: Owners | None = None,
    ) -> GaussianProcess:
        """Fit to costs.

        Args:
            points: Shape ``(n, d)``.
            costs: Shape ``(n,)``.
            noise: Standard deviation of independent noise.
            spread: Least prior standard deviation of costs.
            owners: The candidate of each cost, 0 for the modelled one; all 0 if None.
        """
        candidate = np.zeros(len(costs), dtype=np.int64) if owners is None else owners
        own = costs[candidate == 0]
        variance = max(float(np.var(own)), (2 * noise) ** 2, spread**2, 1e-10)
        level = _level(costs, candidate, variance)
        mean = float(np.median(own))
        kernel = variance * matern(points, points)
        kernel += level * (candidate[:, None] == candidate[None, :])
        kernel[np.diag_indices_from(kernel)] += noise**2 + 1e-8 * variance
        factor = linalg.cho_factor(kernel, lower=True, overwrite_a=True)
        weights = linalg.cho_solve(factor, costs - mean)
        return cls(points, candidate, mean, variance, level, factor, weights)

    def predict(self, rows: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the cost, shape ``(m,)`` each."""
        cross = self.variance * matern(rows, self.points)
        cross += self.level * (self.owners == 0)
        mean = self.mean + cross @ self.weights
        solved = linalg.cho_solve(self.factor, cross.T)
        variance = self.variance + self.level - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, rows: Matrix, best: float) -> Vector:
        """Expected improvement over ``best``, shape ``(m,)``.

        Source: Jones, Schonlau and Welch 1998, equation 15.
        """
        mean, deviation = self.predict(rows)
        score = (best - mean) / deviation
        density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
        improvement: Vector = deviation * (score * special.ndtr(score) + density)
        return improvement
