"""Which candidate gets the next trial: shares by what each has reached, never quite zero.

Pure and deterministic: the same trials give the same choice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from sweeper.search.observations import Observation

# What weak candidates keep together, so that one bad start is not the end of a strategy.
FLOOR_SHARE = 0.5
# A candidate that failed this often and never ended well is left out.
FAILURES_ALLOWED = 3
# Candidates whose best losses differ by less than this share of the best are taken as equal
# before there are enough trials to know the spread.
LEAST_SCALE = 0.1


def next_candidate(
    keys: Sequence[str], seen: Iterable[Observation], scores: Mapping[str, float]
) -> str:
    """The candidate that is furthest behind its share.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: All trials.
        scores: The rules' weights, which break ties.
    """
    by_key: dict[str, list[Observation]] = {key: [] for key in keys}
    for one in seen:
        if one.key in by_key:
            by_key[one.key].append(one)
    alive = [key for key in keys if not hopeless(by_key[key])] or list(keys)
    wanted = shares({key: by_key[key] for key in alive})
    given = {key: len(by_key[key]) for key in alive}
    coming = sum(given.values()) + 1
    return max(
        alive, key=lambda key: (wanted[key] * coming - given[key], scores[key], -alive.index(key))
    )


def hopeless(trials: Sequence[Observation]) -> bool:
    """Whether a candidate only ever failed."""
    failed = sum(1 for one in trials if one.failed)
    return failed >= FAILURES_ALLOWED and not any(one.complete for one in trials)


def shares(by_key: Mapping[str, Sequence[Observation]]) -> dict[str, float]:
    """The share of the trials that each candidate should have, adding up to 1.

    Proportional to ``exp(-(best - best of all) / scale)``, where the scale is how much the better
    half of the completed trials differ; a candidate without a completed trial counts as the best.
    """
    losses = {
        key: [one.loss for one in trials if one.complete and one.loss is not None]
        for key, trials in by_key.items()
    }
    every = sorted(loss for values in losses.values() for loss in values)
    if not every:
        return {key: 1 / len(by_key) for key in by_key}
    better = every[: max(2, (len(every) + 1) // 2)]
    spread = statistics.pstdev(better) if len(better) > 1 else 0.0
    scale = max(spread, LEAST_SCALE * abs(every[0]), 1e-9)
    weights = {
        key: math.exp(-(min(values, default=every[0]) - every[0]) / scale)
        for key, values in losses.items()
    }
    total, count = sum(weights.values()), len(weights)
    return {
        key: FLOOR_SHARE / count + (1 - FLOOR_SHARE) * weight / total
        for key, weight in weights.items()
    }
