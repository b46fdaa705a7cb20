"""Confidence intervals and verdicts for scores and differences. No torch.

Two sources of chance are estimated separately: the choice of items (bootstrap, paired for two
models on the same items) and the seed of a training (t distribution, since three seeds are too few
for a bootstrap). All draws are seeded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# Number of draws of a bootstrap: percentiles at 2.5% rest on 100 of them, and one comparison takes
# less than 50 ms.
RESAMPLES = 4000
# Degrees of freedom that the mean of all models' seed variances adds to a model's own. Fitted to
# pairs of recorded trials, the better half of each task: 3.8 on restaurant reviews, 1 on intents;
# on well-formed queries, models do not differ in their variance. In benchmarks/verdict, 2 degrees
# find fewer true gains than 4, and 8 find no more.
SHARED_FREEDOM = 4
# Largest number of distinct values with which resamples are drawn as counts of values instead of
# item by item.
_MAX_DISTINCT = 64
# Resamples drawn at a time: 500 x 2,000 items take 8 MB.
_BLOCK_RESAMPLES = 500


def item_deviations(values: Floats, rng: np.random.Generator, pseudo: dict[float, float]) -> Floats:
    """Bootstrapped means minus their centre, shape (RESAMPLES,).

    Few distinct values (right or wrong, over a few seeds) are drawn as counts, which gives the same
    distribution fifty times faster.

    Args:
        pseudo: From a value to the number of pseudo-items with it; ignored if more than
            ``_MAX_DISTINCT`` values are distinct.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size > _MAX_DISTINCT:
        blocks = [
            values[rng.integers(0, values.size, (_BLOCK_RESAMPLES, values.size))].mean(axis=1)
            for _ in range(RESAMPLES // _BLOCK_RESAMPLES)
        ]
        return np.asarray(np.concatenate(blocks) - values.mean(), dtype=np.float64)
    levels = np.concatenate([distinct, list(pseudo)])
    weights = np.concatenate([counts, list(pseudo.values())])
    shares = weights / weights.sum()
    draws = rng.multinomial(values.size, shares, size=RESAMPLES) @ levels / values.size
    return np.asarray(draws - shares @ levels, dtype=np.float64)


def weighted(items: Floats, weights: ArrayLike) -> Floats:
    """Values whose mean is the weighted mean of ``items``, and whose spread gives its error.

    Items with weight 0 were not scored and are left out.

    Each value's distance from its row's weighted mean is multiplied by the item's relative weight.
    This linearises the ratio of two sums, so that a bootstrap of items includes the chance in the
    weights (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 22). Differences
    of rows with the same weights stay differences.

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
class SeedDraws:
    """The part of a mean's uncertainty that seeds cause.

    Args:
        draws: ``(RESAMPLES,)`` deviations around zero.
        error: Their standard error; None if unknown.
        half_width: Half-width of the 95% interval from seeds alone.
    """

    draws: Floats
    error: float | None
    half_width: float


def seed_draws(spread: SeedSpread | None, rng: np.random.Generator) -> SeedDraws:
    """Draws from the variance between seeds of a mean; zeros if it is unknown (None)."""
    if spread is None or spread.variance == 0:
        return SeedDraws(np.zeros(RESAMPLES), None if spread is None else 0.0, 0.0)
    error = math.sqrt(spread.variance)
    draws = error * rng.standard_t(spread.freedom, RESAMPLES)
    return SeedDraws(draws, error, error * t_quantile(spread.freedom))


def shared_spreads(own: Sequence[SeedSpread]) -> list[SeedSpread]:
    """The variance between single trainings of each model, shrunk towards the mean of all models.

    A model with three seeds has two degrees of freedom of its own. The mean of all models adds
    ``SHARED_FREEDOM``, but no estimate has more degrees than all models together (Smyth 2004,
    Statistical Applications in Genetics 3:3). A model without any gets the mean. A model with a
    variance of 0, such as a fit in closed form, keeps it and does not count in the mean.

    >>> shared_spreads([SeedSpread(1.0, 2), SeedSpread(3.0, 2), SeedSpread(5.0, 2)])[0]
    SeedSpread(variance=2.3333333333333335, freedom=6)
    """
    known_spreads = [spread for spread in own if spread.variance > 0 and spread.freedom > 0]
    freedom = math.fsum(spread.freedom for spread in known_spreads)
    if len(known_spreads) < 2:
        return list(own)
    mean = math.fsum(spread.variance * spread.freedom for spread in known_spreads) / freedom

    def shared(spread: SeedSpread) -> SeedSpread:
        if spread.freedom > 0 and spread.variance == 0:
            return spread
        total = SHARED_FREEDOM + spread.freedom
        variance = (SHARED_FREEDOM * mean + spread.freedom * spread.variance) / total
        return SeedSpread(variance, min(total, freedom))

    return [shared(spread) for spread in own]


def variance_of_sum(spreads: Sequence[SeedSpread], most: float = math.inf) -> SeedSpread:
    """The variance of a sum, with degrees of freedom after Welch and Satterthwaite.

    Args:
        most: Upper limit of the degrees of freedom, for variances that share trainings.
    """
    parts = [spread for spread in spreads if spread.variance > 0]
    if not parts:
        return SeedSpread(0.0, 0.0)
    variance = math.fsum(spread.variance for spread in parts)
    freedom = variance**2 / math.fsum(spread.variance**2 / spread.freedom for spread in parts)
    return SeedSpread(variance, min(freedom, most))


def t_quantile(freedom: float) -> float:
    """Half-width of a 95% interval in standard errors."""
    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))


Outcome = Literal["better", "worse", "equivalent", "within noise"]
Lacking = Literal["items", "seeds"]

# With fewer items or seeds, every difference is within noise: 95% intervals from so few items, or
# without a measured spread between seeds, cover the true value less often than 95%.
MIN_ITEMS, MIN_SEEDS = 20, 2


@dataclass(frozen=True)
class Scores:
    """One model's scores of the items that all models are compared on.

    Args:
        items: Shape (seeds, items): one row for each training of the same configuration.
        seed_noise: Whether the choice of seeds adds uncertainty. A majority class has no seed.
        shared: The variance between single trainings as estimated with other models
            (``shared_spreads``); from this model's trainings alone if None.
    """

    items: Floats
    seed_noise: bool = True
    shared: SeedSpread | None = None

    @classmethod
    def of(
        cls, rows: Sequence[ArrayLike], seed_noise: bool = True, weights: ArrayLike | None = None
    ) -> Scores:
        """Scores from the item scores of each seed.

        Args:
            rows: A sequence of item scores for each seed.
            weights: Each item's weight in the mean, the same for every seed and model (tokens of
                its reference answer); items with weight 0 are left out. Equal if None.

        Raises:
            ValueError: No seed, no item, seeds of different lengths, or a score that is not finite.
        """
        items = np.array([np.asarray(row, dtype=np.float64) for row in rows])
        if items.ndim != 2 or items.size == 0 or not np.isfinite(items).all():
            raise ValueError(f"finite scores of shape (seeds, items) are needed, got {items.shape}")
        return cls(items if weights is None else weighted(items, weights), seed_noise)

    @property
    def seeds(self) -> int:
        return int(self.items.shape[0])

    @property
    def mean(self) -> float:
        return float(self.items.mean())

    @property
    def binary(self) -> bool:
        return bool(np.isin(self.items, (0.0, 1.0)).all())

    @property
    def seed_spread(self) -> SeedSpread | None:
        """The variance between the means of single seeds; None if unknown."""
        if not self.seed_noise:
            return SeedSpread(0.0, 0.0)
        if self.shared is not None or self.seeds < 2:
            return self.shared
        return SeedSpread(float(self.items.mean(axis=1).var(ddof=1)), self.seeds - 1)


def with_shared_seeds(models: Mapping[str, Scores]) -> dict[str, Scores]:
    """The models with ``shared`` set: their variance between seeds shrunk to that of all models.

    From their own seeds alone, the difference of two models with three seeds each would have to
    exceed up to four standard errors. Models of one task and one kind have similar variances, so
    each helps to estimate the variance of the others.
    """
    seeded_models = {name: scores for name, scores in models.items() if scores.seed_noise}
    own_spreads = [scores.seed_spread or SeedSpread(0.0, 0.0) for scores in seeded_models.values()]
    if sum(spread.freedom > 0 and spread.variance > 0 for spread in own_spreads) < 2:
        return dict(models)
    spreads = dict(zip(seeded_models, shared_spreads(own_spreads), strict=True))
    return {name: replace(scores, shared=spreads.get(name)) for name, scores in models.items()}


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means with its 95% interval and two-sided ``p`` value.

    ``item_error`` and ``seed_error`` are the two parts of its standard error; ``seed_spread`` is
    the half-width of an interval from the seeds alone. ``seed_error`` is None if the variance
    between seeds is unknown; the interval then covers the choice of items only. ``seeds`` is the
    largest number of trainings of a model, None if no model was trained.
    """

    value: float
    low: float
    high: float
    p: float
    items: int
    seeds: int | None
    item_error: float
    seed_error: float | None
    seed_spread: float = 0.0

    @property
    def seed_share(self) -> float | None:
        """The share of the variance that seeds cause; items cause the rest. None if unknown."""
        if self.seed_error is None:
            return None
        variance = self.seed_error**2 + self.item_error**2
        return self.seed_error**2 / variance if 0 < variance < math.inf else None


def mean_interval(scores: Scores, seed: int = 0) -> Estimate:
    """The mean score with its 95% interval over items and seeds.

    Scores of 0 and 1 get two pseudo-items of each (Agresti and Coull 1998, The American
    Statistician 52:119), so that 50 right out of 50 is not "100% for certain".
    """
    rng = np.random.default_rng(seed)
    pseudo = {0.0: 2.0, 1.0: 2.0} if scores.binary else {}
    items = item_deviations(scores.items.mean(axis=0), rng, pseudo)
    estimate = _estimate(scores.mean, items, seed_draws(_spread_of_mean(scores), rng), scores)
    if not scores.binary:
        return estimate
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def paired_difference(first: Scores, second: Scores, seed: int = 0) -> Estimate:
    """The mean of ``first`` minus that of ``second`` on the same items, with its 95% interval.

    Items are drawn in pairs. Seeds of the two models are independent. A model that was trained once
    gets the other model's variance between seeds (after ``with_shared_seeds``: that of all models).
    Scores of 0 and 1 get half a pseudo-item of either sign (Agresti and Min 2005, Statistics in
    Medicine 24:729), so that two models that agree on 20 items are not called the same.

    Raises:
        ValueError: The two have different numbers of items.
    """
    _check_same_items(first, second)
    rng = np.random.default_rng(seed)
    differences = first.items.mean(axis=0) - second.items.mean(axis=0)
    pseudo = {-1.0: 0.5, 1.0: 0.5} if first.binary and second.binary else {}
    items = item_deviations(differences, rng, pseudo)
    seeds = seed_draws(_spread_of_difference(first, second), rng)
    return _estimate(float(differences.mean()), items, seeds, first, second)


def ratio(first: Scores, second: Scores, floor: Scores | None = None) -> Estimate:
    """The share of ``second``'s quality that ``first`` reaches, with its 95% interval.

    The ratio is linearised around its estimate: its deviations are those of ``(first_gain - ratio *
    second_gain) / mean second_gain``.

    Args:
        second: The model whose quality is 100%.
        floor: Scores that are 0%, such as the untrained model's; zero if None.

    Raises:
        ValueError: Different numbers of items, or ``second`` has the floor's quality.
    """
    _check_same_items(first, second)
    zero = np.zeros(first.items.shape[1]) if floor is None else floor.items.mean(axis=0)
    first_gain, second_gain = first.items.mean(axis=0) - zero, second.items.mean(axis=0) - zero
    mean_gain = float(second_gain.mean())
    if abs(mean_gain) < 1e-12:
        raise ValueError("a share of zero quality is not defined")
    value = float(first_gain.mean()) / mean_gain
    rng = np.random.default_rng(0)
    both_binary = floor is None and first.binary and second.binary
    pseudo = {-1.0 / mean_gain: 0.5, 1.0 / mean_gain: 0.5} if both_binary else {}
    items = item_deviations((first_gain - value * second_gain) / mean_gain, rng, pseudo)
    seeds = seed_draws(
        _spread_of_difference(first, second, 1 / mean_gain**2, (value / mean_gain) ** 2), rng
    )
    return _estimate(value, items, seeds, first, second)


def t_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of a few independent values and its 95% t interval; no interval for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half_width = t_quantile(len(values) - 1) * error
    return mean, mean - half_width, mean + half_width


def paired_error(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Mean paired difference and its standard error over items, without bootstrap for speed."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if differences.size < 2:
        return float(differences.mean()), math.inf
    error = float(differences.std(ddof=1)) / math.sqrt(differences.size)
    return float(differences.mean()), error


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values, adjusted for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def lacking(difference: Estimate) -> Lacking | None:
    """What a comparison has too few of to claim any difference; None if it has enough."""
    if difference.seeds is not None and difference.seeds < MIN_SEEDS:
        return "seeds"
    return "items" if difference.items < MIN_ITEMS else None


def outcome(
    difference: Estimate, margin: float, higher_is_better: bool, adjusted_p: float | None = None
) -> Outcome:
    """The outcome of a comparison; "within noise" if there are too few items or seeds.

    Args:
        margin: Differences smaller than this do not matter.
        adjusted_p: P value after ``holm``, if several comparisons were made.
    """
    if lacking(difference):
        return "within noise"
    is_clear = difference.low > 0 or difference.high < 0
    is_clear = is_clear and (adjusted_p is None or adjusted_p < 1 - CONFIDENCE)
    if is_clear and abs(difference.value) >= margin:
        return "better" if (difference.value > 0) == higher_is_better else "worse"
    if -margin < difference.low and difference.high < margin:
        return "equivalent"
    return "within noise"


def items_to_settle(difference: Estimate, margin: float) -> int | None:
    """Number of further items that would settle a comparison if the difference stays the same.

    A comparison is settled if the outcome is "better" or "worse" for a difference of at least the
    margin, and "equivalent" for a smaller one. The items' error shrinks with the root of their
    number, the seeds' error does not. None means that no number of items suffices (more seeds
    might).
    """
    if lacking(difference) == "seeds":
        return None
    size = abs(difference.value)
    target = size if size >= margin else margin - size
    max_squared_half_width = target**2 - difference.seed_spread**2
    if max_squared_half_width <= 0 or difference.item_error == 0:
        return None
    half_width = float(special.ndtri(0.5 + CONFIDENCE / 2)) * difference.item_error
    needed_items = math.ceil(difference.items * half_width**2 / max_squared_half_width)
    return max(0, needed_items - difference.items, MIN_ITEMS - difference.items)


def _check_same_items(first: Scores, second: Scores) -> None:
    if first.items.shape[1] != second.items.shape[1]:
        raise ValueError(
            f"both models must have scored the same items, "
            f"got {first.items.shape[1]} and {second.items.shape[1]}"
        )


def _spread_of_mean(scores: Scores) -> SeedSpread | None:
    spread = scores.seed_spread
    return SeedSpread(spread.variance / scores.seeds, spread.freedom) if spread else None


def _spread_of_difference(
    first: Scores, second: Scores, first_factor: float = 1.0, second_factor: float = 1.0
) -> SeedSpread | None:
    """The seed variance of a difference; a model trained once gets the other's variance."""
    models = ((first, first_factor), (second, second_factor))
    spreads = [scores.seed_spread for scores, _ in models if scores.seed_noise]
    known_spread = next((spread for spread in spreads if spread is not None), None)
    parts = []
    for model, factor in models:
        spread = model.seed_spread or known_spread
        if spread is None:
            return None
        parts.append(SeedSpread(factor * spread.variance / model.seeds, spread.freedom))
    # A sum of variances from the same trainings has no more degrees of freedom than its parts.
    separate = all(scores.shared is None and scores.seed_spread is not None for scores, _ in models)
    return variance_of_sum(parts, math.inf if separate else max(part.freedom for part in parts))


def _estimate(value: float, items: Floats, seeds: SeedDraws, *models: Scores) -> Estimate:
    """An estimate with the percentiles of item and seed deviations together."""
    draws = value + items + seeds.draws
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(q) for q in np.quantile(draws, (tail, 1 - tail)))
    tail_share = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
    p, error = min(1.0, max(2 * tail_share, 1 / RESAMPLES)), float(items.std())
    count = int(models[0].items.shape[1])
    if count < 2:
        low, high, p, error = -math.inf, math.inf, 1.0, math.inf
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        p=p,
        items=count,
        seeds=max((model.seeds for model in models if model.seed_noise), default=None),
        item_error=error,
        seed_error=seeds.error,
        seed_spread=seeds.half_width,
    )
