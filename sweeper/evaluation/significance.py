"""How far a score or a difference can be trusted: items, seeds, many comparisons. numpy only.

Two sources of chance are kept apart: which items were drawn (bootstrap, paired where two models saw
the same items) and which seed a model was trained with (t, since three seeds are too few for a
bootstrap). All draws are seeded.
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
    measured = [spread for spread in own if spread.variance > 0 and spread.freedom > 0]
    freedom = math.fsum(spread.freedom for spread in measured)
    if len(measured) < 2:
        return list(own)
    mean = math.fsum(spread.variance * spread.freedom for spread in measured) / freedom

    def shared(spread: SeedSpread) -> SeedSpread:
        if spread.freedom > 0 and spread.variance == 0:
            return spread
        whole = SHARED_FREEDOM + spread.freedom
        variance = (SHARED_FREEDOM * mean + spread.freedom * spread.variance) / whole
        return SeedSpread(variance, min(whole, freedom))

    return [shared(spread) for spread in own]


def added(spreads: Sequence[SeedSpread], most: float = math.inf) -> SeedSpread:
    """The variance of a sum; degrees of freedom after Welch and Satterthwaite, at most so many.

    Args:
        most: Estimates that share trainings have no more than one of them.
    """
    parts = [spread for spread in spreads if spread.variance > 0]
    if not parts:
        return SeedSpread(0.0, 0.0)
    variance = math.fsum(spread.variance for spread in parts)
    free = variance**2 / math.fsum(spread.variance**2 / spread.freedom for spread in parts)
    return SeedSpread(variance, min(free, most))


def t_quantile(freedom: float) -> float:
    """How many standard errors a 95% interval reaches to either side."""
    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))


Outcome = Literal["better", "worse", "equivalent", "within noise"]
Lacking = Literal["items", "seeds"]

# With fewer, nothing is called better, worse or equivalent: percentiles of so few items, or of
# trainings whose spread was not measured, cover less than they say.
FEWEST_ITEMS, FEWEST_SEEDS = 20, 2


@dataclass(frozen=True)
class Scores:
    """What one model scored on the items that all models are compared on.

    Args:
        items: Shape (seeds, items): one row for each training of the same configuration.
        trained: Whether another seed would have given another model. A majority class has none.
        shared: The spread of its single trainings that other models help to estimate; its own
            trainings alone if None.
    """

    items: Floats
    trained: bool = True
    shared: SeedSpread | None = None

    @classmethod
    def of(
        cls, rows: Sequence[ArrayLike], trained: bool = True, weights: ArrayLike | None = None
    ) -> Scores:
        """Scores from one sequence of item scores for each seed.

        Args:
            rows: One for each seed.
            weights: What each item counts in the mean, the same for every seed and model (tokens
                of its reference answer); items with weight 0 are left out. All alike if None.

        Raises:
            ValueError: No seed, no item, seeds of different lengths, or a score that is not finite.
        """
        items = np.array([np.asarray(row, dtype=np.float64) for row in rows])
        if items.ndim != 2 or items.size == 0 or not np.isfinite(items).all():
            raise ValueError(f"finite scores of shape (seeds, items) are needed, got {items.shape}")
        return cls(items if weights is None else weighted(items, weights), trained)

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
        """Variance between the means of single seeds; None where it cannot be known."""
        if not self.trained:
            return SeedSpread(0.0, 0.0)
        if self.shared is not None or self.seeds < 2:
            return self.shared
        return SeedSpread(float(self.items.mean(axis=1).var(ddof=1)), self.seeds - 1)


def with_shared_seeds(models: Mapping[str, Scores]) -> dict[str, Scores]:
    """The models with the variance of their seeds drawn towards that of all of them.

    Each finalist has few seeds, and a difference of two means of three seeds has to exceed four
    standard errors. Models of one task and one kind vary alike, so that each of them adds to what
    is known of the others.
    """
    trained = {name: scores for name, scores in models.items() if scores.trained}
    own = [scores.seed_spread or SeedSpread(0.0, 0.0) for scores in trained.values()]
    if sum(spread.freedom > 0 and spread.variance > 0 for spread in own) < 2:
        return dict(models)
    spreads = dict(zip(trained, shared_spreads(own), strict=True))
    return {name: replace(scores, shared=spreads.get(name)) for name, scores in models.items()}


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means with its interval.

    ``item_error`` and ``seed_error`` are the two parts of its standard error; ``seed_spread`` is
    the half-width that the seeds alone would give. ``seed_error`` is None where only one seed was
    trained, and the interval then covers the choice of items only. ``seeds`` are the trainings of
    the model that was trained most often, None where none was trained.
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


def mean_interval(scores: Scores, seed: int = 0) -> Estimate:
    """The mean score with its 95% interval over items and seeds.

    Scores of 0 and 1 get two pseudo-items of each (Agresti and Coull 1998, The American
    Statistician 52:119), so that 50 right out of 50 is not "100% for certain".
    """
    rng = np.random.default_rng(seed)
    pseudo = {0.0: 2.0, 1.0: 2.0} if scores.binary else {}
    items = item_deviations(scores.items.mean(axis=0), rng, pseudo)
    estimate = _estimate(scores.mean, items, seed_part(_of_mean(scores), rng), scores)
    if not scores.binary:
        return estimate
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def paired_difference(first: Scores, second: Scores, seed: int = 0) -> Estimate:
    """The mean of ``first`` minus that of ``second`` on the same items, with its 95% interval.

    Items are drawn in pairs. Seeds of the two models are independent; where one of them was
    trained once only, its seeds are taken to vary as the other's do (``with_shared_seeds``: as
    those of all models). Scores of 0 and 1 get half a
    pseudo-item of either sign (Agresti and Min 2005, Statistics in Medicine 24:729), so that two
    models that agree on 20 items are not called the same.

    Raises:
        ValueError: The two have different numbers of items.
    """
    _same_items(first, second)
    rng = np.random.default_rng(seed)
    differences = first.items.mean(axis=0) - second.items.mean(axis=0)
    pseudo = {-1.0: 0.5, 1.0: 0.5} if first.binary and second.binary else {}
    items = item_deviations(differences, rng, pseudo)
    part = seed_part(_of_both(first, second), rng)
    return _estimate(float(differences.mean()), items, part, first, second)


def ratio(first: Scores, second: Scores, floor: Scores | None = None) -> Estimate:
    """Which share of ``second``'s quality ``first`` reaches, with its 95% interval.

    The ratio is linearised around its estimate: its draws are those of ``above - ratio * below``.

    Args:
        first: The model whose share is asked for.
        second: The model that counts as 100%.
        floor: Where 0% lies (an untrained model's scores); zero if None.

    Raises:
        ValueError: Different numbers of items, or ``second`` is where the floor is.
    """
    _same_items(first, second)
    base = np.zeros(first.items.shape[1]) if floor is None else floor.items.mean(axis=0)
    above, below = first.items.mean(axis=0) - base, second.items.mean(axis=0) - base
    whole = float(below.mean())
    if abs(whole) < 1e-12:
        raise ValueError("a share of zero quality is not defined")
    value = float(above.mean()) / whole
    rng = np.random.default_rng(0)
    both = floor is None and first.binary and second.binary
    pseudo = {-1.0 / whole: 0.5, 1.0 / whole: 0.5} if both else {}
    items = item_deviations((above - value * below) / whole, rng, pseudo)
    part = seed_part(_of_both(first, second, 1 / whole**2, (value / whole) ** 2), rng)
    return _estimate(value, items, part, first, second)


def t_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of a few independent values and its 95% t interval; no interval for one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = t_quantile(len(values) - 1) * error
    return mean, mean - half, mean + half


def paired_error(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Mean paired difference and its standard error over items: the cheap way, for many pairs."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if differences.size < 2:
        return float(differences.mean()), math.inf
    error = float(differences.std(ddof=1)) / math.sqrt(differences.size)
    return float(differences.mean()), error


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values adjusted for having made all of these comparisons (Holm 1979).

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
    """Why nothing is claimed from a difference, however large it is; None where it can be."""
    if difference.seeds is not None and difference.seeds < FEWEST_SEEDS:
        return "seeds"
    return "items" if difference.items < FEWEST_ITEMS else None


def outcome(
    difference: Estimate, margin: float, higher_is_better: bool, adjusted_p: float | None = None
) -> Outcome:
    """What a difference amounts to, in the only words that a report uses for it.

    Where items or seeds are lacking, it is always within noise.

    Args:
        margin: Differences smaller than this do not matter.
        adjusted_p: After Holm, where several comparisons were made.
    """
    if lacking(difference):
        return "within noise"
    clear = difference.low > 0 or difference.high < 0
    clear = clear and (adjusted_p is None or adjusted_p < 1 - CONFIDENCE)
    if clear and abs(difference.value) >= margin:
        return "better" if (difference.value > 0) == higher_is_better else "worse"
    if -margin < difference.low and difference.high < margin:
        return "equivalent"
    return "within noise"


def items_to_settle(difference: Estimate, margin: float) -> int | None:
    """How many further items would settle a comparison if the difference stayed as it is.

    Settled means "better"/"worse" for a difference of at least the margin, else "equivalent". The
    item part shrinks with the root of their number; the seed part does not, so that None means
    that no number of items would do (more seeds might).
    """
    if lacking(difference) == "seeds":
        return None
    size = abs(difference.value)
    target = size if size >= margin else margin - size
    room = target**2 - difference.seed_spread**2
    if room <= 0 or difference.item_error == 0:
        return None
    half = float(special.ndtri(0.5 + CONFIDENCE / 2)) * difference.item_error
    wanted = math.ceil(difference.items * half**2 / room)
    return max(0, wanted - difference.items, FEWEST_ITEMS - difference.items)


def _same_items(first: Scores, second: Scores) -> None:
    if first.items.shape[1] != second.items.shape[1]:
        raise ValueError(
            f"both models must have scored the same items, "
            f"got {first.items.shape[1]} and {second.items.shape[1]}"
        )


def _of_mean(scores: Scores) -> SeedSpread | None:
    spread = scores.seed_spread
    return SeedSpread(spread.variance / scores.seeds, spread.freedom) if spread else None


def _of_both(
    first: Scores, second: Scores, first_factor: float = 1.0, second_factor: float = 1.0
) -> SeedSpread | None:
    """The seeds' part of a difference; a model trained once borrows the other's variance."""
    models = ((first, first_factor), (second, second_factor))
    spreads = [scores.seed_spread for scores, _ in models if scores.trained]
    borrowed = next((spread for spread in spreads if spread is not None), None)
    parts = []
    for model, factor in models:
        spread = model.seed_spread or borrowed
        if spread is None:
            return None
        parts.append(SeedSpread(factor * spread.variance / model.seeds, spread.freedom))
    alone = all(scores.shared is None and scores.seed_spread is not None for scores, _ in models)
    return added(parts, math.inf if alone else max(part.freedom for part in parts))


def _estimate(value: float, items: Floats, seeds: SeedPart, *models: Scores) -> Estimate:
    """Percentiles of both components together, around the estimate."""
    drawn = value + items + seeds.draws
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(q) for q in np.quantile(drawn, (tail, 1 - tail)))
    sides = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    p, error = min(1.0, max(2 * sides, 1 / RESAMPLES)), float(items.std())
    count = int(models[0].items.shape[1])
    if count < 2:
        low, high, p, error = -math.inf, math.inf, 1.0, math.inf
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        p=p,
        items=count,
        seeds=max((model.seeds for model in models if model.trained), default=None),
        item_error=error,
        seed_error=seeds.error,
        seed_spread=seeds.spread,
    )
