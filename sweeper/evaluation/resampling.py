"""Draws that say how much chance there is: items by bootstrap, seeds by t. numpy only.

Every draw comes from a generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# Percentiles at 2.5% rest on 100 draws then; one comparison stays under 50 ms.
RESAMPLES = 4000
# What the mean of other models' seed variances counts for beside a model's own. Fitted to pairs of
# recorded trials, the better half of each task: 3.8 (restaurants), 1 (intents), and no difference
# between models at all (wellformed). In benchmarks/verdict 2 finds fewer gains, 8 no more.
SHARED_FREEDOM = 4
# Above this many distinct values, items are drawn one by one instead of counted by value.
_DISTINCT = 64
# Resamples drawn at once: 500 x 2,000 items is 8 MB.
_BLOCK = 500


def item_deviations(values: Floats, rng: np.random.Generator, pseudo: dict[float, float]) -> Floats:
    """Bootstrapped means minus their centre, shape (RESAMPLES,).

    Values with few distinct levels (right or wrong, over a few seeds) are drawn as counts, which
    is the same distribution and fifty times faster.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size > _DISTINCT:
        blocks = [
            values[rng.integers(0, values.size, (_BLOCK, values.size))].mean(axis=1)
            for _ in range(RESAMPLES // _BLOCK)
        ]
        return np.asarray(np.concatenate(blocks) - values.mean(), dtype=np.float64)
    levels = np.concatenate([distinct, list(pseudo)])
    weights = np.concatenate([counts, list(pseudo.values())])
    shares = weights / weights.sum()
    drawn = rng.multinomial(values.size, shares, size=RESAMPLES) @ levels / values.size
    return np.asarray(drawn - shares @ levels, dtype=np.float64)


def weighted(items: Floats, weights: ArrayLike) -> Floats:
    """Values whose plain means, and these means' spread over items, are the weighted ones.

    Items with weight 0 were not scored and are left out.

    Each value moves away from its row's weighted mean by the item's share of the weight: the
    linearised ratio of two sums, so that a bootstrap of items answers for the weights' chance,
    too (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 22). Differences of
    rows with the same weights stay differences.

    Args:
        items: ``(rows, items)``.
        weights: ``(items,)``, not negative, not all 0.

    Returns:
        ``(rows, items with weight)``.

    >>> weighted(np.array([[1.0, 0.0, 3.0]]), [2.0, 0.0, 2.0]).tolist()
    [[1.0, 3.0]]
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != items.shape[-1:] or not np.isfinite(shares).all() or shares.sum() <= 0:
        raise ValueError("finite weights, one for each item and not all 0, are needed")
    if not shares.all():
        items, shares = items[..., shares > 0], shares[shares > 0]
    if (shares == shares[0]).all():
        return items
    shares = shares / shares.mean()
    means = (items * shares).mean(axis=-1, keepdims=True)
    return np.asarray(means + shares * (items - means), dtype=np.float64)


class SeedSpread(NamedTuple):
    """A variance between seeds, with its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class SeedPart:
    """Draws of the seed component around zero, its standard error, its own 95% half-width."""

    draws: Floats
    error: float | None
    spread: float


def seed_part(spread: SeedSpread | None, rng: np.random.Generator) -> SeedPart:
    """Draws of a mean's seed component from its variance; unknown if that is None."""
    if spread is None or spread.variance == 0:
        return SeedPart(np.zeros(RESAMPLES), None if spread is None else 0.0, 0.0)
    error = math.sqrt(spread.variance)
    draws = error * rng.standard_t(spread.freedom, RESAMPLES)
    return SeedPart(draws, error, error * t_quantile(spread.freedom))


def shared_spreads(own: Sequence[SeedSpread]) -> list[SeedSpread]:
    """Variances of the single trainings of several models, each drawn towards the mean of all.

    A model that three seeds were trained of has two degrees of freedom of its own. The mean of all
    models counts for four more, and no estimate has more than all models have together (Smyth
    2004, Statistical Applications in Genetics 3:3). A model without own degrees of freedom gets
    the mean. One without any variance, such as a fit in closed form, keeps it and is left out.

    >>> shared_spreads([SeedSpread(1.0, 2), SeedSpread(3.0, 2), SeedSpread(5.0, 2)])[0]
    SeedSpread(variance=2.3333333333333335, freedom=6)
    """
    known = [one for one in own if one.variance > 0 and one.freedom > 0]
    freedom = math.fsum(one.freedom for one in known)
    if len(known) < 2:
        return list(own)
    mean = math.fsum(one.variance * one.freedom for one in known) / freedom

    def shared(one: SeedSpread) -> SeedSpread:
        if one.freedom > 0 and one.variance == 0:
            return one
        whole = SHARED_FREEDOM + one.freedom
        variance = (SHARED_FREEDOM * mean + one.freedom * one.variance) / whole
        return SeedSpread(variance, min(whole, freedom))

    return [shared(one) for one in own]


def added(spreads: Sequence[SeedSpread], most: float = math.inf) -> SeedSpread:
    """The variance of a sum; degrees of freedom after Welch and Satterthwaite, at most so many.

    Args:
        most: Estimates that share trainings have no more than one of them.
    """
    parts = [one for one in spreads if one.variance > 0]
    if not parts:
        return SeedSpread(0.0, 0.0)
    variance = math.fsum(one.variance for one in parts)
    free = variance**2 / math.fsum(one.variance**2 / one.freedom for one in parts)
    return SeedSpread(variance, min(free, most))


def t_quantile(freedom: float) -> float:
    """How many standard errors a 95% interval reaches to either side."""
    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))
