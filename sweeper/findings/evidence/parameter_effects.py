"""The effect of one parameter on the loss, the others being equal, from the trials of one strategy.

Trials differ in many parameters at once, and the search chooses later ones by the losses of earlier
ones. So values are not compared by the means of their trials, but in a model of all parameters: log
loss = level + a smooth curve of each parameter + what similar configurations share + noise. It is a
Gaussian process: how the trials were chosen does not matter to it, and it takes each effect to be
zero unless the trials show it, so that many effects can be looked at together. Pure numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, special

from sweeper.plans import Parameter
from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Rows, axis_of
from sweeper.search.loss_model.gaussian_process import Matrix, Vector, matern, one_thread
from sweeper.search.rule_claims import Claim
from sweeper.spec import Scalar

# Settings of the model, each weighed by how well it explains the trials: lengths as a multiple of
# those of the search's own model; variances, where that of a rate's curve is 1, of the curves of
# other parameters, of what similar configurations share, and of noise.
LENGTHS = (0.7, 1.5, 4.0)
OTHERS = (0.03, 0.1, 0.3, 1.0)
SHARED = (0.0, 0.5)
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# With fewer configurations there is nothing to tell noise from.
FEWEST_CONFIGURATIONS = 5
# Of more trials the last ones are used: the time grows with the cube of their number.
MOST_TRIALS = 200
# Of the log losses, as a variance: equal losses are no proof of an effect of zero.
_TINY = 1e-12
# Of an interval of 95%.
TAIL = 0.025
# Mean, low, high, doubt.
_Posterior = tuple[float, float, float, float]


@dataclass(frozen=True)
class SeenTrial:
    """The losses of one trial.

    Args:
        finals: At the end of each training of it; none if it was pruned.
    """

    parameters: Mapping[str, Scalar]
    rungs: Mapping[int, float]
    finals: tuple[float, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a logarithm can be taken of every final loss."""
        return all(math.isfinite(loss) and loss > 0 for loss in self.finals)


@dataclass(frozen=True)
class Effect:
    """By how much the log loss is higher outside than inside, with its 95% interval.

    ``doubt`` is twice the probability of the other sign. ``inside_loss`` and ``outside_loss`` are
    geometric means of the trials as they are.
    """

    value: float
    low: float
    high: float
    doubt: float
    inside: int
    outside: int
    inside_loss: float
    outside_loss: float


def final_losses(trials: Sequence[SeenTrial]) -> list[tuple[float, ...]]:
    """The final losses of each trial; of a pruned one, what is expected of it.

    It is compared at its last rung: its loss changes from there as that of completed trials does,
    in the median. Empty where there is nothing to compare it with.
    """
    done = [one for one in trials if one.finals and one.usable]
    found = []
    for one in trials:
        if one.finals:
            found.append(one.finals if one.usable else ())
            continue
        known = {rung: loss for rung, loss in one.rungs.items() if 0 < loss < math.inf}
        rung = max(known, default=0)
        ratios = [peer.finals[0] / peer.rungs[rung] for peer in done if peer.rungs.get(rung)]
        found.append((known[rung] * float(np.median(ratios)),) if ratios and known else ())
    return found


def effects(
    trials: Sequence[SeenTrial], parameters: Mapping[str, Parameter], claims: Sequence[Claim]
) -> list[Effect | None]:
    """The effect of each claim's parameter; None where all trials are on one side, or too few.

    Args:
        trials: Of one strategy.
        parameters: Of this strategy; those that do not vary are left out.
    """
    trials = trials[-MOST_TRIALS:]
    rows = [
        (trial.parameters, loss)
        for trial, losses in zip(trials, final_losses(trials), strict=True)
        for loss in losses
    ]
    points = [point for point, _ in rows]
    keys = [repr(sorted(point.items())) for point in points]
    if len(set(keys)) < FEWEST_CONFIGURATIONS:
        return [None] * len(claims)
    repeated = np.array([1 / keys.count(key) for key in keys])
    losses = np.log([loss for _, loss in rows])
    varied = [name for name in parameters if len({point.get(name) for point in points}) > 1]
    blocks = {name: _rows(name, parameters[name], points) for name in varied}
    sides = [_sides(claim, points) for claim in claims]
    weights = [_weights(side, repeated) for side in sides]
    asked = {
        place: weight
        for place, weight in enumerate(weights)
        if weight is not None and claims[place].parameter in blocks
    }
    found: list[Effect | None] = [None] * len(claims)
    if not asked:
        return found
    names = [claims[place].parameter for place in asked]
    rates = [parameters[name].log and parameters[name].kind == "float" for name in varied]
    with one_thread():
        answers = _average(losses, blocks, rates, names, list(asked.values()))
    for place, known in zip(asked, answers, strict=True):
        both = [repeated * (sides[place] == sign) for sign in (1, -1)]
        counts = [round(float(one.sum())) for one in both]
        means = [float(np.exp(np.average(losses, weights=one))) for one in both]
        found[place] = Effect(*known, *counts, *means)
    return found


def _rows(name: str, parameter: Parameter, points: Sequence[Mapping[str, Scalar]]) -> Matrix:
    values = [point[name] for point in points if name in point]
    axis = axis_of(name, parameter, optuna_space.distribution(parameter, values))
    return Rows({name: axis}).matrix(points)


def _sides(claim: Claim, points: Sequence[Mapping[str, Scalar]]) -> Vector:
    """1 inside, -1 outside, 0 where a trial does not have the parameter."""
    name = claim.parameter
    return np.array([
        0 if name not in point else 1 if claim.inside(point[name]) else -1 for point in points
    ])  # fmt: skip


def _weights(side: Vector, repeated: Vector) -> Vector | None:
    inside, outside = repeated * (side == 1), repeated * (side == -1)
    if not inside.any() or not outside.any():
        return None
    return np.asarray(outside / outside.sum() - inside / inside.sum())


def _average(
    losses: Vector,
    blocks: Mapping[str, Matrix],
    rates: Sequence[bool],
    names: Sequence[str],
    weights: Sequence[Vector],
) -> list[_Posterior]:
    """What is known of each effect, over all settings."""
    settings, evidences = [], []
    for length in LENGTHS:
        scaled = {name: block / length for name, block in blocks.items()}
        curves = {name: matern(block, block) for name, block in scaled.items()}
        whole = np.hstack(list(scaled.values()))
        joint = matern(whole, whole)
        for other, shared in itertools.product(OTHERS, SHARED):
            sizes = {n: 1.0 if rate else other for n, rate in zip(blocks, rates, strict=True)}
            kernel = shared * joint
            for name, curve in curves.items():
                kernel = kernel + sizes[name] * curve
            pairs = list(zip(names, weights, strict=True))
            cross = np.column_stack([sizes[name] * (curves[name] @ one) for name, one in pairs])
            prior = np.array([one @ column for one, column in zip(weights, cross.T, strict=True)])
            for noise in NOISES:
                *found, evidence = _posterior(losses, kernel, noise, cross, prior)
                settings.append(found)
                evidences.append(evidence)
    share = np.exp(np.array(evidences) - max(evidences))
    share /= share.sum()
    means = np.array([mean for mean, _ in settings])
    errors = np.sqrt([variance for _, variance in settings])
    columns = zip(means.T, errors.T, strict=True)
    return [_summary(share, mean, error, len(losses) - 1) for mean, error in columns]


def _summary(share: Vector, means: Vector, errors: Vector, freedom: int) -> _Posterior:
    """Of a mixture of t distributions: mean, the ends of the 95% interval, and twice the
    probability of the sign that the mean does not have."""

    def below(value: float) -> float:
        return float(share @ special.stdtr(freedom, (value - means) / errors))

    mean, widest = float(share @ means), 1e3 * float(errors.max())
    first, last = float(means.min()) - widest, float(means.max()) + widest
    low, high = (
        float(optimize.brentq(lambda value, end=end: below(value) - end, first, last))
        for end in (TAIL, 1 - TAIL)
    )
    wrong = below(0.0) if mean > 0 else 1 - below(0.0)
    return mean, low, high, min(1.0, 2 * wrong)


def _posterior(
    losses: Vector, kernel: Matrix, noise: float, cross: Matrix, prior: Vector
) -> tuple[Vector, Vector, float]:
    """Means, variances and log evidence under one setting; level and scale are integrated out.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.2 and 2.7.
    """
    count = len(losses)
    factor = linalg.cho_factor(kernel + noise * np.eye(count), lower=True)
    ones = np.ones(count)
    solved = linalg.cho_solve(factor, np.column_stack([losses, ones, cross]))
    precision = float(ones @ solved[:, 1])
    level = float(ones @ solved[:, 0]) / precision
    rest = solved[:, 0] - level * solved[:, 1]
    scale = max(float((losses - level) @ rest) / (count - 1), _TINY)
    variance = prior - np.einsum("ij,ij->j", cross, solved[:, 2:])
    variance = variance + (ones @ solved[:, 2:]) ** 2 / precision
    log_det = 2 * float(np.log(np.diag(factor[0])).sum())
    evidence = -0.5 * (log_det + math.log(precision) + (count - 1) * math.log(scale))
    return cross.T @ rest, scale * np.maximum(variance, _TINY), evidence
