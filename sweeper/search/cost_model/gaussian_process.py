"""A Gaussian process over one candidate's parameters, small enough to be exact.

It may be told of other candidates' costs too, each with a level of its own that is not known: a
multi-task kernel as in Bonilla, Chai and Williams 2008 (Multi-task Gaussian process prediction),
with the covariance of tasks fixed. Inputs are axes scaled so that a distance of 1 is as far as
costs are taken to be related; pure.
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
Whose = NDArray[np.int64]
Matrix = NDArray[np.float64]

# How far the levels of candidates are taken to lie apart at least, as a share of how far one
# candidate's costs spread. In replays of four formulas 0.5, 1 and 2 could not be told apart.
LEVEL_SHARE = 1.0
# Costs further above the best than this many times the median's distance are all just bad: a
# diverged trial would otherwise flatten all differences that matter.
CLIP_FACTOR = 4.0


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Keeps linear algebra to one thread: on matrices of 128 rows more threads mostly wait.

    Measured on two cores, after 500 trials: a choice took 0.45 CPU seconds with two threads and
    0.02 with one.
    """
    context: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return context


def clipped(costs: Vector) -> Vector:
    """Costs, with bad ones cut to a limit beyond which they carry no information."""
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


def _level(costs: Vector, whose: Whose, variance: float) -> float:
    # How much the levels of candidates vary: what their medians show, and a share of the spread.
    middle = float(np.median(costs[whose == 0]))
    apart = [
        middle - float(np.median(costs[whose == level])) for level in set(whose.tolist()) - {0}
    ]
    return max([LEVEL_SHARE**2 * variance, *(level**2 for level in apart)]) if apart else 0.0


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Args:
        points: Where costs are known, shape ``(n, d)``.
        whose: The candidate that each is of, 0 for the one that is asked about; shape ``(n,)``.
        mean: The cost far from all of them.
        variance: How much costs vary over the space.
        level: How much candidates' levels vary, as a variance; 0 where there is one.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (costs - mean).
    """

    points: Matrix
    whose: Whose
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
        whose: Whose | None = None,
    ) -> GaussianProcess:
        """Fit to costs.

        Args:
            points: Shape ``(n, d)``.
            costs: Shape ``(n,)``.
            noise: Standard deviation of independent noise.
            spread: Costs are taken to vary by this much at least.
            whose: The candidate that each cost is of, 0 for the one that is asked about; all are
                its own if not given.
        """
        of = np.zeros(len(costs), dtype=np.int64) if whose is None else whose
        own = costs[of == 0]
        variance = max(float(np.var(own)), (2 * noise) ** 2, spread**2, 1e-10)
        level = _level(costs, of, variance)
        mean = float(np.median(own))
        kernel = variance * matern(points, points)
        kernel += level * (of[:, None] == of[None, :])
        kernel[np.diag_indices_from(kernel)] += noise**2 + 1e-8 * variance
        factor = linalg.cho_factor(kernel, lower=True, overwrite_a=True)
        weights = linalg.cho_solve(factor, costs - mean)
        return cls(points, of, mean, variance, level, factor, weights)

    def predict(self, at: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the cost, shape ``(m,)`` each."""
        cross = self.variance * matern(at, self.points)
        cross += self.level * (self.whose == 0)
        mean = self.mean + cross @ self.weights
        solved = linalg.cho_solve(self.factor, cross.T)
        variance = self.variance + self.level - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, at: Matrix, best: float) -> Vector:
        """Expected improvement over ``best``, shape ``(m,)``.

        Source: Jones, Schonlau and Welch 1998, equation 15.
        """
        mean, deviation = self.predict(at)
        score = (best - mean) / deviation
        density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
        improvement: Vector = deviation * (score * special.ndtr(score) + density)
        return improvement
