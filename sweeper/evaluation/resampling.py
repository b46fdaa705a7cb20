"""Draws that say how much chance there is: items by bootstrap, seeds by t. numpy only.

Every draw comes from a generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# Percentiles at 2.5% rest on 100 draws then; one comparison stays under 50 ms.
RESAMPLES = 4000
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

    Each value moves away from its row's weighted mean by the item's share of the weight: the
    linearised ratio of two sums, so that a bootstrap of items answers for the weights' chance,
    too (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 22). Differences of
    rows with the same weights stay differences.

    Args:
        items: ``(rows, items)``.
        weights: ``(items,)``, not negative, not all 0.
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != items.shape[-1:] or not np.isfinite(shares).all() or shares.sum() <= 0:
        raise ValueError("finite weights, one for each item and not all 0, are needed")
    if (shares == shares[0]).all():
        return items
    shares = shares / shares.mean()
    means = (items * shares).mean(axis=-1, keepdims=True)
    return np.asarray(means + shares * (items - means), dtype=np.float64)


@dataclass(frozen=True)
class SeedPart:
    """Draws of the seed component around zero, its standard error, its own 95% half-width."""

    draws: Floats
    error: float | None
    spread: float


def seed_part(parts: list[tuple[float, int]] | None, rng: np.random.Generator) -> SeedPart:
    """The seed component from (variance, seeds) of each model; unknown if ``parts`` is None.

    Degrees of freedom after Welch and Satterthwaite, at least the smaller ``seeds - 1``; a model
    that was trained once has the degrees of freedom of the one that it borrows from.
    """
    if not parts:
        return SeedPart(np.zeros(RESAMPLES), None if parts is None else 0.0, 0.0)
    shares = [variance / seeds for variance, seeds in parts]
    most = max(seeds for _, seeds in parts)
    freedoms = [(seeds if seeds > 1 else most) - 1 for _, seeds in parts]
    freedom = math.fsum(shares) ** 2 / math.fsum(
        share**2 / own for share, own in zip(shares, freedoms, strict=True)
    )
    error = math.sqrt(math.fsum(shares))
    draws = error * rng.standard_t(freedom, RESAMPLES)
    return SeedPart(draws, error, error * t_quantile(freedom))


def t_quantile(freedom: float) -> float:
    """How many standard errors a 95% interval reaches to either side."""
    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))
