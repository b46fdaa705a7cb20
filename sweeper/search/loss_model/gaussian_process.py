"""A Gaussian process over one candidate's parameters, small enough to be exact.

It may be told of other candidates' losses too, each with a level of its own that is not known: a
multi-task kernel as in Bonilla, Chai and Williams 2008 (Multi-task Gaussian process prediction),
with the covariance of tasks fixed. Inputs are axes scaled so that a distance of 1 is as far as
losses are taken to be related; pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

# What is tried for the distances along one parameter, from so many losses on, and how much better
# the losses must be explained for each doubling: fewer or weaker evidence would follow noise.
SCALES = (0.5, 2.0, 4.0)
FEWEST_FOR_SCALES = 5
SCALE_DOUBT = 0.5
# How far the levels of candidates are taken to lie apart at least, as a share of how far one
# candidate's losses spread. In replays of four formulas 0.5, 1 and 2 could not be told apart.
LEVEL_SHARE = 1.0
# Losses further above the best than this many times the median's distance are all just bad: a
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


def clipped(losses: Vector) -> Vector:
    """Losses with the bad ones cut to where they stop telling anything."""
    best, middle = float(losses.min()), float(np.median(losses))
    return np.minimum(losses, best + CLIP_FACTOR * (middle - best)) if middle > best else losses


def matern(first: Matrix, second: Matrix) -> Matrix:
    """Matern 5/2 kernel with unit length and variance; shapes ``(n, d)`` and ``(m, d)``.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 4.17.
    """
    return _matern(_squares(first, second))


def _squares(first: Matrix, second: Matrix) -> Matrix:
    return np.asarray(cdist(first, second, "sqeuclidean"))


def _matern(squares: Matrix) -> Matrix:
    # In place, as temporary matrices take longer than the arithmetic.
    scaled: Matrix = 5 * squares
    kernel: Matrix = scaled / 3
    np.sqrt(scaled, out=scaled)
    kernel += scaled
    kernel += 1
    np.negative(scaled, out=scaled)
    kernel *= np.exp(scaled, out=scaled)
    return kernel


def _level(losses: Vector, whose: Whose, variance: float) -> float:
    # How much the levels of candidates vary: what their medians show, and a share of the spread.
    middle = float(np.median(losses[whose == 0]))
    apart = [middle - float(np.median(losses[whose == one])) for one in set(whose.tolist()) - {0}]
    return max([LEVEL_SHARE**2 * variance, *(one**2 for one in apart)]) if apart else 0.0


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Args:
        points: Where losses are known, scaled; shape ``(n, d)``.
        scales: What distances along each column are multiplied by, shape ``(d,)``.
        whose: The candidate that each is of, 0 for the one that is asked about; shape ``(n,)``.
        mean: The loss far from all of them.
        variance: How much losses vary over the space.
        level: How much candidates' levels vary, as a variance; 0 where there is one.
        factor: Cholesky factor of the kernel matrix with its noise.
        weights: Kernel matrix inverse times (losses - mean).
    """

    points: Matrix
    scales: Vector
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
        losses: Vector,
        noise: float,
        spread: float = 0.0,
        groups: Sequence[slice] = (),
        whose: Whose | None = None,
    ) -> GaussianProcess:
        """Fit to losses.

        Args:
            points: Shape ``(n, d)``.
            losses: Shape ``(n,)``.
            noise: Standard deviation of independent noise.
            spread: Losses are taken to vary by this much at least.
            groups: Columns of each parameter, whose distances are stretched or shrunk together
                where the losses clearly ask for it.
            whose: The candidate that each loss is of, 0 for the one that is asked about; all are
                its own if not given.
        """
        of = np.zeros(len(losses), dtype=np.int64) if whose is None else whose
        own = losses[of == 0]
        variance = max(float(np.var(own)), (2 * noise) ** 2, spread**2, 1e-10)
        level = _level(losses, of, variance)
        told = _Losses(
            losses - float(np.median(own)),
            variance,
            noise**2 + 1e-8 * variance,
            level * (of[:, None] == of[None, :]),
        )
        scales = told.scales(points, groups)
        scaled = points * scales
        factor, weights = told.solved(_squares(scaled, scaled))
        mean = float(np.median(own))
        return cls(scaled, scales, of, mean, variance, level, (factor, True), weights)

    def predict(self, at: Matrix) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the loss, shape ``(m,)`` each."""
        cross = self.variance * matern(at * self.scales, self.points)
        cross += self.level * (self.whose == 0)
        mean = self.mean + cross @ self.weights
        solved = linalg.cho_solve(self.factor, cross.T)
        variance = self.variance + self.level - np.einsum("ij,ji->i", cross, solved)
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


@dataclass(frozen=True)
class _Losses:
    """Losses about their mean, and how they are taken to vary.

    Args:
        losses: Shape ``(n,)``.
        variance: Over the space.
        noise: Variance of each loss by itself.
        levels: Covariance by candidates' levels, shape ``(n, n)``.
    """

    losses: Vector
    variance: float
    noise: float
    levels: Matrix

    def scales(self, points: Matrix, groups: Sequence[slice]) -> Vector:
        """What the distances along each column are multiplied by, as the losses ask for it.

        One parameter after the other; its scales are tried side by side.
        """
        scales = np.ones(points.shape[1])
        if len(points) < FEWEST_FOR_SCALES or not groups:
            return scales
        alone = [_squares(points[:, group], points[:, group]) for group in groups]
        squares = np.sum(alone, axis=0)
        best = evidence = float(self._evidences(squares[None])[0])
        factors = np.asarray(SCALES)[:, None, None] ** 2 - 1
        doubts = SCALE_DOUBT * np.abs(np.log2(SCALES))
        for group, one in zip(groups, alone, strict=True):
            # Where all have the same value, nothing depends on the scale.
            tried = squares + factors * one
            evidences = self._evidences(tried) if one.any() else np.full(len(SCALES), evidence)
            which = int((evidences - doubts).argmax())
            if evidences[which] - doubts[which] > best:
                evidence, squares = float(evidences[which]), tried[which]
                best = evidence - doubts[which]
                scales[group] = SCALES[which]
        return scales

    def solved(self, squares: Matrix) -> tuple[Matrix, Vector]:
        """The kernel's lower Cholesky factor, and its inverse times the losses."""
        return self._solved(self._kernels(squares))

    def _evidences(self, squares: Matrix) -> Vector:
        """Log likelihoods of the losses under several distances, up to a constant."""
        solved = [self._solved(kernel) for kernel in self._kernels(squares)]
        logs = [float(np.log(factor.diagonal()).sum()) for factor, _ in solved]
        fits = [float(self.losses @ weights) for _, weights in solved]
        return np.asarray([-0.5 * fit - log for fit, log in zip(fits, logs, strict=True)])

    def _kernels(self, squares: Matrix) -> Matrix:
        kernels: Matrix = _matern(squares)
        kernels *= self.variance
        kernels += self.levels
        diagonal = np.arange(len(self.losses))
        kernels[..., diagonal, diagonal] += self.noise
        return kernels

    def _solved(self, kernel: Matrix) -> tuple[Matrix, Vector]:
        # The matrix is symmetric: LAPACK takes its transpose without a copy.
        factor, failed = linalg.lapack.dpotrf(kernel.T, lower=1, overwrite_a=1)
        if failed:
            raise np.linalg.LinAlgError("the kernel matrix is not positive definite")
        return factor, linalg.lapack.dpotrs(factor, self.losses, lower=1)[0]
