"""The effect of one parameter on the loss, the others being equal, from the trials of one strategy.

Trials differ in many parameters at once, and the search chooses later ones by the losses of earlier
ones. So values are not compared by the means of their trials but in a model of all parameters: log
loss = level + a smooth curve of each parameter + what neighbours share + noise, as a Gaussian
process. Given such a model it does not matter how the trials were chosen. Pure numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, stats

from sweeper.plans import Parameter
from sweeper.search import optuna_space
from sweeper.search.loss_model.axis import axis_of
from sweeper.search.loss_model.gaussian_process import Matrix, Vector, clipped, matern
from sweeper.search.loss_model.model_inputs import Rows
from sweeper.spec import Scalar

# Settings of the model, each weighed by how well it explains the trials: the lengths of the search's
# own model times these, the noise as a share of what a parameter changes, and the share of what
# neighbouring configurations have in common beyond the sum of their parameters.
LENGTHS = (0.7, 1.5, 4.0)
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SHARED = (0.0, 0.5)
OTHERS = (0.3, 1.0, 3.0)
# Fewer trials leave nothing to estimate the noise from.
FEWEST_TRIALS = 5


@dataclass(frozen=True)
class Effect:
    """By how much the log loss is higher outside than inside, with its 95% interval."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Seen:
    """A trial's losses by rung, and its final loss; None where it was pruned."""

    rungs: Mapping[int, float]
    final: float | None


def comparable_losses(trials: Sequence[Seen]) -> list[float | None]:
    """A loss of each trial, as of its end; None where there is nothing to compare it with.

    A pruned trial is compared at its last rung: its loss there changes by as much as that of
    completed trials does from that rung to their end, in the median.
    """
    done = [one for one in trials if one.final is not None and one.final > 0]
    found: list[float | None] = []
    for one in trials:
        if one.final is not None:
            found.append(one.final if math.isfinite(one.final) and one.final > 0 else None)
            continue
        rung = max((r for r, loss in one.rungs.items() if math.isfinite(loss)), default=None)
        ratios = [other.final / other.rungs[rung] for other in done if other.rungs.get(rung)]
        found.append(one.rungs[rung] * float(np.median(ratios)) if ratios else None)
    return found


@dataclass(frozen=True)
class LossModel:
    """The additive model of one strategy's trials.

    Args:
        points: The parameters of each trial.
        losses: The loss of each trial, comparable with each other.
        parameters: The strategy's parameters; those that do not vary are left out.
    """

    points: Sequence[Mapping[str, Scalar]]
    losses: Sequence[float]
    parameters: Mapping[str, Parameter]

    def effect(self, name: str, inside: Callable[[Scalar], bool]) -> Effect | None:
        """The mean over the values tried outside minus that over the values tried inside.

        None where all trials are on one side, or too few.
        """
        known = [place for place, point in enumerate(self.points) if name in point]
        within = np.array([inside(self.points[place][name]) for place in known], dtype=bool)
        if within.all() or not within.any() or len(known) < FEWEST_TRIALS:
            return None
        weights = np.where(within, -1 / within.sum(), 1 / (~within).sum())
        points = [self.points[place] for place in known]
        losses = np.log(clipped(np.array([self.losses[place] for place in known])))
        blocks = {one: self._block(one, points) for one in self._varied(points)}
        return _contrast(losses, blocks, name, weights)

    def _varied(self, points: Sequence[Mapping[str, Scalar]]) -> list[str]:
        return [one for one in self.parameters if len({p.get(one) for p in points}) > 1]

    def _block(self, name: str, points: Sequence[Mapping[str, Scalar]]) -> Matrix:
        parameter = self.parameters[name]
        values = [point[name] for point in points if name in point]
        axis = axis_of(name, parameter, optuna_space.distribution(parameter, values))
        return Rows({name: axis}).matrix(points)


def _contrast(losses: Vector, blocks: Mapping[str, Matrix], name: str, weights: Vector) -> Effect:
    count = len(losses)
    means, variances, evidences = [], [], []
    for length in LENGTHS:
        kernels = {one: matern(block / length, block / length) for one, block in blocks.items()}
        whole = np.hstack(list(blocks.values())) / length
        joint = matern(whole, whole)
        for other, shared, noise in itertools.product(OTHERS, SHARED, NOISES):
            sizes = {one: 1.0 if one == "learning_rate" else other for one in kernels}
            kernel = sum(sizes[one] * matrix for one, matrix in kernels.items())
            kernel = kernel + shared * joint + noise * np.eye(count)
            own = sizes[name] * kernels[name] @ weights
            found = _posterior(losses, kernel, own, float(weights @ own))
            means.append(found[0])
            variances.append(found[1])
            evidences.append(found[2])
    logs = np.array(evidences)
    share = np.exp(logs - logs.max())
    share /= share.sum()
    mean = float(share @ means)
    variance = float(share @ (np.array(variances) + (np.array(means) - mean) ** 2))
    error = math.sqrt(max(variance, 1e-18))
    freedom = count - 1
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Effect(mean, mean - half, mean + half, p)


def _posterior(
    losses: Vector, kernel: Matrix, cross: Vector, prior: float
) -> tuple[float, float, float]:
    """Mean, variance and log evidence; level and scale are integrated out."""
    count = len(losses)
    factor = linalg.cho_factor(kernel, lower=True)
    ones = np.ones(count)
    solved = linalg.cho_solve(factor, np.column_stack([losses, ones, cross]))
    precision = float(ones @ solved[:, 1])
    level = float(ones @ solved[:, 0]) / precision
    rest = solved[:, 0] - level * solved[:, 1]
    scale = max(float((losses - level) @ rest) / (count - 1), 1e-18)
    mean = float(cross @ rest)
    lost = 1.0 - 0.0
    gap = float(ones @ solved[:, 2])
    variance = prior - float(cross @ solved[:, 2]) + gap**2 / precision * lost
    log_det = 2 * float(np.log(np.diag(factor[0])).sum())
    evidence = -0.5 * (log_det + math.log(precision) + (count - 1) * math.log(scale))
    return mean, scale * max(variance, 0.0), evidence
