"""Which configurations are trained again, their order, and the cheapest that is good enough.

Everything is decided on validation, before the test split is opened. Knows no Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sweeper.trials import TrialResult

Losses = NDArray[np.float64]

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 2000


def choose(results: Mapping[int, TrialResult], strategies: Mapping[int, str], n: int) -> list[int]:
    """The trials to confirm, best first.

    The best of each strategy comes before the second best of any: the question is which strategy
    to use as much as which configuration, and two trainings of nearly the same thing answer
    neither.

    Args:
        results: By trial number; those that did not complete are left out.
        strategies: The strategy of each trial.
        n: How many finalists there may be.
    """
    ranked = sorted(
        (number for number, result in results.items() if result.validation_loss is not None),
        key=lambda number: (loss_of(results[number]), number),
    )
    firsts = list({strategies[number]: number for number in reversed(ranked)}.values())
    firsts.sort(key=ranked.index)
    rest = [number for number in ranked if number not in firsts]
    return sorted((firsts + rest)[:n], key=ranked.index)


def loss_of(result: TrialResult) -> float:
    """The validation loss, or infinity where there is none."""
    return math.inf if result.validation_loss is None else result.validation_loss


@dataclass(frozen=True)
class Contender:
    """A finalist with all that its seeds showed.

    Args:
        trial: Its number.
        losses: Mean validation loss of each seed.
        items: Loss of each validation item, one row a seed; shape ``(seeds, items)``. Empty if
            they were not kept.
        memory_gib: Peak memory, 0 where unknown.
        seconds: Mean seconds of a training.
    """

    trial: int
    losses: tuple[float, ...]
    items: Losses
    memory_gib: float
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.losses))


def order(contenders: Sequence[Contender]) -> list[Contender]:
    """Best first, by the mean validation loss over all seeds."""
    return sorted(contenders, key=lambda contender: (contender.loss, contender.trial))


def recommend(contenders: Sequence[Contender], seed: int) -> int | None:
    """The cheapest finalist (memory, then time) that cannot be told apart from the best."""
    if not contenders:
        return None
    best, *others = order(contenders)
    top = [best, *(other for other in others if not told_apart(best, other, seed))]
    return min(top, key=lambda one: (round(one.memory_gib, 2), one.seconds, one.loss)).trial


def told_apart(better: Contender, worse: Contender, seed: int) -> bool:
    """Whether the data say that ``worse`` has the higher loss, at 95% confidence.

    The items are the same for both, so their share of the doubt is a bootstrap of the paired
    differences; the share of the seeds is added with Student's t at Welch's degrees of freedom,
    since a bootstrap over three seeds covers far less than it says.
    """
    difference = worse.loss - better.loss
    items = _item_error(better.items, worse.items, seed)
    seeds, freedom = _seed_error(better.losses, worse.losses)
    if items is None and math.isinf(freedom):
        return difference > 0.0
    error = math.hypot(items or 0.0, seeds)
    quantile = (1 + CONFIDENCE) / 2
    normal = math.isinf(freedom)
    reach = special.ndtri(quantile) if normal else special.stdtrit(freedom, quantile)
    return bool(difference > float(reach) * error)


def _item_error(first: Losses, second: Losses, seed: int) -> float | None:
    if first.size == 0 or second.size == 0 or first.shape[1] != second.shape[1]:
        return None
    differences = second.mean(axis=0) - first.mean(axis=0)
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(differences), size=(BOOTSTRAP_DRAWS, len(differences)))
    return float(differences[draws].mean(axis=1).std())


def _seed_error(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    # Standard error of the difference between two means, and Welch-Satterthwaite's freedom.
    parts = [(float(np.var(each, ddof=1)) / len(each), len(each) - 1)
             for each in (first, second) if len(each) > 1]  # fmt: skip
    total = sum(part for part, _ in parts)
    if total == 0.0:
        return 0.0, math.inf
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts if degrees)
    return math.sqrt(total), freedom
