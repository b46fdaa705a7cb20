"""The finalists: which trials are trained with further seeds, their order, and the recommendation.

Everything is decided on validation, before the test split is opened.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper.evaluation.significance import Scores, paired_difference, with_shared_seeds
from sweeper.objective import LOSS, Limit, Objective, is_beyond, order, violation
from sweeper.trials import TrialResult

# Differences of memory (share, or GiB) and time (share) that count as none. The times of seeds of
# one configuration differed by 16% in the median of 30 recorded trials, and by at most 37% in nine
# of ten. Process memory varies from trial to trial (``benchmarks/memory``).
SAME_MEMORY_SHARE, SAME_MEMORY_GIB, SAME_SECONDS_SHARE = 0.1, 0.1, 0.35


def choose(
    results: Mapping[int, TrialResult],
    candidates: Mapping[int, Hashable],
    n: int,
    limits: Sequence[Limit] = (),
    objective: Objective = LOSS,
) -> list[int]:
    """The trials to confirm, best first.

    The best trial of each candidate is chosen before the second best of any, since the study
    compares candidates as well as configurations.

    Args:
        results: Results by trial number; only completed trials are chosen.
        candidates: The candidate (strategy and model) of each trial.
        n: Number of finalists.
        limits: Trials within them come first; others are finalists only if fewer than ``n``
            are within.
    """
    costs = {number: cost_of(result, objective) for number, result in results.items()}
    violations = {number: violation(result.measures, limits) for number, result in results.items()}
    ranked = sorted(
        (number for number, cost in costs.items() if math.isfinite(cost)),
        key=lambda number: (order(costs[number], violations[number]), number),
    )
    within = [number for number in ranked if not is_beyond(violations[number])]
    beyond = _first_of_each(ranked[len(within) :], candidates, n - len(within))
    return _first_of_each(within, candidates, n) + beyond


def _first_of_each(ranked: Sequence[int], candidates: Mapping[int, Hashable], n: int) -> list[int]:
    """``n`` trials: the best one of each candidate, then the next best; in order of rank."""
    firsts = list({candidates[number]: number for number in reversed(ranked)}.values())
    firsts.sort(key=ranked.index)
    rest = [number for number in ranked if number not in firsts]
    return sorted((firsts + rest)[: max(n, 0)], key=ranked.index)


def cost_of(result: TrialResult, objective: Objective = LOSS) -> float:
    """The cost of a result; infinity if there is none."""
    cost = objective.cost_of(result)
    return math.inf if cost is None else cost


@dataclass(frozen=True)
class Trainings:
    """All completed trainings of one finalist.

    Args:
        scores: Costs of validation items, one row per training; None if they were not kept.
    """

    trial: int
    results: Sequence[TrialResult]
    scores: Scores | None = None
    objective: Objective = LOSS
    limits: Sequence[Limit] = ()

    @property
    def cost(self) -> float:
        """Mean cost over the trainings."""
        return statistics.fmean(cost_of(result, self.objective) for result in self.results)

    @property
    def violation(self) -> float | None:
        """Mean violation of the limits; None if unknown."""
        measured = [violation(result.measures, self.limits) for result in self.results]
        violations = [each for each in measured if each is not None]
        return statistics.fmean(violations) if violations else None

    @property
    def memory_gib(self) -> float:
        # The lowest, since oneDNN's kernels add to the first training of a process on a CPU.
        return min(result.peak_memory_gib or 0.0 for result in self.results)

    @property
    def seconds(self) -> float:
        return statistics.fmean(
            result.training_seconds + result.evaluation_seconds for result in self.results
        )


def in_order(finalists: Sequence[Trainings]) -> list[Trainings]:
    """The finalists, best first, by the means over all trainings."""
    return sorted(finalists, key=lambda each: (order(each.cost, each.violation), each.trial))


def recommend(finalists: Sequence[Trainings]) -> int | None:
    """The recommended finalist: the cheapest to train of those not clearly worse than the best.

    Of finalists with about the same memory and time, the one with the lowest cost is recommended.

    Only finalists within the limits count. If there are none, the one nearest to the limits is
    recommended, which the report must say. None without finalists.
    """
    if not finalists:
        return None
    ranked = in_order(finalists)
    within = [finalist for finalist in ranked if not is_beyond(finalist.violation)]
    if not within:
        return ranked[0].trial
    best, *others = within
    shared = with_shared_seeds({str(each.trial): each.scores for each in within if each.scores})
    similar = [best, *(finalist for finalist in others if not is_worse(best, finalist, shared))]
    return similar[
        min(cheapest([(finalist.memory_gib, finalist.seconds) for finalist in similar]))
    ].trial


def seeds_dominate(finalists: Sequence[Trainings]) -> bool:
    """Whether seeds cause more than half of the variance of differences between finalists.

    It is the mean share over all pairs, on validation. The differences themselves are not used, so
    that whether further seeds are run does not depend on them.
    """
    scores = [finalist.scores for finalist in finalists if finalist.scores is not None]
    shares = []
    for first, second in combinations(scores, 2):
        if first.items.shape[1] == second.items.shape[1]:
            shares.append(paired_difference(first, second).seed_share or 0.0)
    return bool(shares) and statistics.fmean(shares) > 0.5


def cheapest(trainings: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of those with about the least memory and, among them, about the shortest time.

    Args:
        trainings: (GiB, seconds) of each.

    >>> cheapest([(2.0, 10.0), (1.0, 30.0), (1.05, 20.0), (1.0, 21.0)])
    [2, 3]
    """
    lowest = min(gib for gib, _ in trainings)
    memory = max(lowest * (1 + SAME_MEMORY_SHARE), lowest + SAME_MEMORY_GIB)
    seconds = min(duration for gib, duration in trainings if gib <= memory) * (
        1 + SAME_SECONDS_SHARE
    )
    numbered = enumerate(trainings)
    return [index for index, (gib, duration) in numbered if gib <= memory and duration <= seconds]


def is_worse(better: Trainings, worse: Trainings, scores: Mapping[str, Scores]) -> bool:
    """Whether the cost of ``worse`` is higher, at 95% confidence.

    If they were not scored on the same items, the means decide.

    Args:
        scores: Scores of the finalists by trial number, with the spread of seeds estimated from
            all.
    """
    first, second = scores.get(str(worse.trial)), scores.get(str(better.trial))
    if first is None or second is None or first.items.shape[1] != second.items.shape[1]:
        return worse.cost > better.cost
    return paired_difference(first, second).low > 0.0
