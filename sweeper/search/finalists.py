"""Which configurations are trained again, their order, and which one is recommended.

Everything is decided on validation, before the test split is opened.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper.constraints import Limit, is_beyond, order, violation
from sweeper.evaluation.significance import Scores, paired_difference, with_shared_seeds
from sweeper.objective import LOSS, Objective
from sweeper.trials import TrialResult

# Costs that differ by no more than this share are alike: the seeds of one configuration took times
# that differed by 16% in the median and by 37% in nine of ten of 30 recorded trials. Memory that a
# process takes in one trial and not in the next does not count (``benchmarks/memory``).
ALIKE_MEMORY, ALIKE_GIB, ALIKE_SECONDS = 0.1, 0.1, 0.35


def choose(
    results: Mapping[int, TrialResult],
    pairs: Mapping[int, Hashable],
    n: int,
    limits: Sequence[Limit] = (),
    objective: Objective = LOSS,
) -> list[int]:
    """The trials to confirm, best first.

    The best of each strategy comes before the second best of any: the question is which strategy
    to use as much as which configuration, and two trainings of nearly the same thing answer
    neither.

    Args:
        results: By trial number; those that did not complete are left out.
        pairs: The candidate of each: its strategy and model.
        limits: Trials within them come first; others are finalists only where fewer than ``n``
            are within.
    """
    costs = {number: cost_of(result, objective) for number, result in results.items()}
    violations = {number: violation(result.measures, limits) for number, result in results.items()}
    ranked = sorted(
        (number for number, cost in costs.items() if math.isfinite(cost)),
        key=lambda number: (order(costs[number], violations[number]), number),
    )
    within = [number for number in ranked if not is_beyond(violations[number])]
    others = ranked[len(within) :]
    return _places(within, pairs, n) + _places(others, pairs, n - len(within))


def _places(ranked: Sequence[int], pairs: Mapping[int, Hashable], n: int) -> list[int]:
    """The best trial of each strategy first, then the second ones, up to the number of places."""
    firsts = list({pairs[number]: number for number in reversed(ranked)}.values())
    firsts.sort(key=ranked.index)
    rest = [number for number in ranked if number not in firsts]
    return sorted((firsts + rest)[: max(n, 0)], key=ranked.index)


def cost_of(result: TrialResult, objective: Objective = LOSS) -> float:
    """The cost of a result, or infinity where there is none."""
    cost = objective.cost_of(result)
    return math.inf if cost is None else cost


@dataclass(frozen=True)
class Trainings:
    """All trainings of one finalist that completed.

    Args:
        scores: Costs of single validation items, one row a training; None if they were not kept.
    """

    trial: int
    results: Sequence[TrialResult]
    scores: Scores | None = None
    objective: Objective = LOSS
    limits: Sequence[Limit] = ()

    @property
    def cost(self) -> float:
        """Mean over the trainings."""
        return statistics.fmean(cost_of(result, self.objective) for result in self.results)

    @property
    def violation(self) -> float | None:
        """By how much it is beyond the limits, on average; None where unknown."""
        measured = [violation(result.measures, self.limits) for result in self.results]
        violations = [result for result in measured if result is not None]
        return statistics.fmean(violations) if violations else None

    @property
    def memory_gib(self) -> float:
        # Not the highest: the first training of a CPU's process also grows by oneDNN's kernels.
        return min(result.peak_memory_gib or 0.0 for result in self.results)

    @property
    def seconds(self) -> float:
        return statistics.fmean(
            result.training_seconds + result.evaluation_seconds for result in self.results
        )


def in_order(finalists: Sequence[Trainings]) -> list[Trainings]:
    """Best first, by the means over all trainings."""
    return sorted(finalists, key=lambda each: (order(each.cost, each.violation), each.trial))


def recommend(finalists: Sequence[Trainings]) -> int | None:
    """The finalist that is cheapest to train of those close to the best.

    Of those that take about the same it is the one with the lowest cost.

    Only those within the limits count. Where none is, it is the nearest to them, and whoever
    reports it must say so.
    """
    if not finalists:
        return None
    ranked = in_order(finalists)
    within = [finalist for finalist in ranked if not is_beyond(finalist.violation)]
    if not within:
        return ranked[0].trial
    best, *others = within
    shared = with_shared_seeds({str(each.trial): each.scores for each in within if each.scores})
    top = [best, *(finalist for finalist in others if not told_apart(best, finalist, shared))]
    return top[min(cheapest([(finalist.memory_gib, finalist.seconds) for finalist in top]))].trial


def seeds_dominate(finalists: Sequence[Trainings]) -> bool:
    """Whether seeds make up more than half of the variance of differences between finalists.

    It is the mean over all pairs on validation. What the differences are decides nothing, so that
    the question whether there is one stays open.
    """
    scores = [finalist.scores for finalist in finalists if finalist.scores is not None]
    shares = []
    for first, second in combinations(scores, 2):
        if first.items.shape[1] == second.items.shape[1]:
            difference = paired_difference(first, second)
            seed, item = (difference.seed_error or 0.0) ** 2, difference.item_error**2
            shares.append(seed / (seed + item) if seed else 0.0)
    return bool(shares) and statistics.fmean(shares) > 0.5


def cheapest(trainings: Sequence[tuple[float, float]]) -> list[int]:
    """Places of those that nothing undercuts clearly: in memory first, then in time.

    >>> cheapest([(2.0, 10.0), (1.0, 30.0), (1.05, 20.0), (1.0, 21.0)])
    [2, 3]
    """
    least = min(used for used, _ in trainings)
    memory = max(least * (1 + ALIKE_MEMORY), least + ALIKE_GIB)
    seconds = min(took for used, took in trainings if used <= memory) * (1 + ALIKE_SECONDS)
    pairs = enumerate(trainings)
    return [index for index, (used, took) in pairs if used <= memory and took <= seconds]


def told_apart(better: Trainings, worse: Trainings, scores: Mapping[str, Scores]) -> bool:
    """Whether the data say that ``worse`` has the higher cost, at 95% confidence.

    Without the same items of both, the means decide.

    Args:
        scores: Of the finalists, by the trial's number, with what each tells of the others' seeds.
    """
    first, second = scores.get(str(worse.trial)), scores.get(str(better.trial))
    if first is None or second is None or first.items.shape[1] != second.items.shape[1]:
        return worse.cost > better.cost
    return paired_difference(first, second).low > 0.0
