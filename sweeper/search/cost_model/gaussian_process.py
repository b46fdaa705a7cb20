"""An exact Gaussian process over one candidate's parameters.

Costs of other candidates can be added, each candidate with an unknown level of its own: a
multi-task kernel as in Bonilla, Chai and Williams 2008 (Multi-task Gaussian process prediction),
with a fixed covariance of tasks. Callers scale inputs to a correlation length of 1.
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
Indices = NDArray[np.int64]
Matrix = NDArray[np.float64]

# Minimum standard deviation of candidates' levels, as a share of the standard deviation of one
# candidate's costs. In simulated searches of four tasks that are formulas
# (benchmarks/findings.md), 0.5, 1 and 2 gave equally good results.
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


def _level_variance(costs: Vector, candidates: Indices, variance: float) -> float:
    """Prior variance of the candidates' levels; 0 with a single candidate.

    It is the largest squared distance between this candidate's and another one's median cost, and
    at least a share of ``variance``.
    """
    median = float(np.median(costs[candidates == 0]))
    others = set(candidates.tolist()) - {0}
    offsets = [median - float(np.median(costs[candidates == other])) for other in others]
    least = LEVEL_SHARE**2 * variance
    return max([least, *(offset**2 for offset in offsets)]) if offsets else 0.0


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process, fitted to costs.

    Args:
        points: Rows with known costs, shape ``(n, d)``.
        candidates: Number of each row's candidate, 0 for the modelled one; shape ``(n,)``.
        mean: Prior mean of costs.
        variance: Prior variance of costs.
        level_variance: Prior variance of candidates' levels; 0 with a single candidate.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (costs - mean).
    """

    points: Matrix
    candidates: Indices
    mean: float
    variance: float
    level_variance: float
    factor: tuple[Matrix, bool]
    weights: Vector

    @classmethod
    def fit(
        cls,
        points: Matrix,
        costs: Vector,
        noise: float,
        spread: float = 0.0,
        candidates: Indices | None = None,
    ) -> GaussianProcess:
        """Fit to costs.

        Args:
            points: Shape ``(n, d)``.
            costs: Shape ``(n,)``.
            noise: Standard deviation of independent noise. The prior standard deviation of costs
                is at least twice this, even if the first costs happen to be equal.
            spread: Minimum prior standard deviation of costs.
            candidates: Number of each cost's candidate, 0 for the modelled one; all 0 if None.
        """
        if candidates is None:
            candidates = np.zeros(len(costs), dtype=np.int64)
        own = costs[candidates == 0]
        variance = max(float(np.var(own)), (2 * noise) ** 2, spread**2, 1e-10)
        level_variance = _level_variance(costs, candidates, variance)
        mean = float(np.median(own))
        kernel = variance * matern(points, points)
        kernel += level_variance * (candidates[:, None] == candidates[None, :])
        kernel[np.diag_indices_from(kernel)] += noise**2 + 1e-8 * variance
        factor = linalg.cho_factor(kernel, lower=True, overwrite_a=True)
        weights = linalg.cho_solve(factor, costs - mean)
        return cls(points, candidates, mean, variance, level_variance, factor, weights)

    def predict(self, rows: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the modelled candidate's cost, shape ``(m,)`` each."""
        cross = self.variance * matern(rows, self.points)
        cross += self.level_variance * (self.candidates == 0)
        mean = self.mean + cross @ self.weights
        solved = linalg.cho_solve(self.factor, cross.T)
        variance = self.variance + self.level_variance - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, rows: Matrix, best: float) -> Vector:
        """Expected improvement on ``best``, shape ``(m,)``.

        Source: Jones, Schonlau and Welch 1998, equation 15.
        """
        mean, deviation = self.predict(rows)
        score = (best - mean) / deviation
        density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
        improvement: Vector = deviation * (score * special.ndtr(score) + density)
        return improvement
