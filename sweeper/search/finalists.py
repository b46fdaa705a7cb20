"""Which configurations are trained again, their order, and which one is recommended.

Everything is decided on validation, before the test split is opened.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeper.constraints import Limit, excess, is_beyond, order
from sweeper.evaluation.significance import SeedSpread, added, shared_spreads, t_quantile
from sweeper.objective import LOSS, Objective
from sweeper.trials import TrialResult

Costs = NDArray[np.float64]
NO_ITEMS: Costs = np.empty((0, 0))

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
    beyond = {number: excess(result.measures, limits) for number, result in results.items()}
    ranked = sorted(
        (number for number, cost in costs.items() if math.isfinite(cost)),
        key=lambda number: (order(costs[number], beyond[number]), number),
    )
    within = [number for number in ranked if not is_beyond(beyond[number])]
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
class Contender:
    """A finalist with all that its seeds showed.

    Args:
        costs: Mean cost of each seed.
        items: Likewise of each validation item, one row a seed; shape ``(seeds, items)``. NaN for
            items that were not scored; empty if they were not kept.
        memory_gib: Peak memory, 0 where unknown.
        excess: By how much it is beyond the limits, mean over the seeds; None where unknown.
    """

    trial: int
    costs: tuple[float, ...]
    items: Costs
    memory_gib: float
    seconds: float
    excess: float | None = None

    @classmethod
    def of(
        cls,
        trial: int,
        results: Sequence[TrialResult],
        objective: Objective,
        limits: Sequence[Limit],
        items: Costs = NO_ITEMS,
    ) -> Contender:
        """A finalist with the results of its trainings that completed."""
        measured = (excess(one.measures, limits) for one in results)
        beyond = [one for one in measured if one is not None]
        seconds = [one.training_seconds + one.evaluation_seconds for one in results]
        return cls(
            trial=trial,
            costs=tuple(cost_of(one, objective) for one in results),
            items=items,
            # Not the highest: the first training of a CPU's process also grows by oneDNN's kernels.
            memory_gib=min((one.peak_memory_gib or 0.0 for one in results), default=0.0),
            seconds=float(np.mean(seconds)) if seconds else 0.0,
            excess=float(np.mean(beyond)) if beyond else None,
        )

    @property
    def cost(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.costs))


def in_order(contenders: Sequence[Contender]) -> list[Contender]:
    """Best first, by the means over all seeds."""
    return sorted(contenders, key=lambda one: (order(one.cost, one.excess), one.trial))


def recommend(contenders: Sequence[Contender]) -> int | None:
    """The finalist that is cheapest to train of those close to the best.

    Of those that take about the same it is the one with the lowest cost.

    Only those within the limits count. Where none is, it is the nearest to them, and whoever
    reports it must say so.
    """
    if not contenders:
        return None
    ranked = in_order(contenders)
    within = [one for one in ranked if not is_beyond(one.excess)]
    if not within:
        return ranked[0].trial
    best, *others = within
    others = [one for one in others if not told_apart(best, one, within)]
    top = [best, *others]
    return top[min(cheapest([(one.memory_gib, one.seconds) for one in top]))].trial


def cheapest(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the costs that nothing undercuts clearly: in memory first, then in time.

    >>> cheapest([(2.0, 10.0), (1.0, 30.0), (1.05, 20.0), (1.0, 21.0)])
    [2, 3]
    """
    least = min(used for used, _ in costs)
    memory = max(least * (1 + ALIKE_MEMORY), least + ALIKE_GIB)
    seconds = min(one for used, one in costs if used <= memory) * (1 + ALIKE_SECONDS)
    return [place for place, (used, one) in enumerate(costs) if used <= memory and one <= seconds]


def told_apart(better: Contender, worse: Contender, among: Sequence[Contender] = ()) -> bool:
    """Whether the data say that ``worse`` has the higher cost, at 95% confidence.

    The items are the same for both, so their share of the doubt is that of the paired differences;
    the share of the seeds is added, and Student's t taken at the degrees of freedom of both
    together. Seeds that hardly differ thus cost no certainty.

    Args:
        among: All finalists, of which each tells how much trainings of the others vary.
    """
    difference = worse.cost - better.cost
    items = _item_part(better.items, worse.items)
    doubt = added([*items, _seed_part(better, worse, among)])
    if doubt.variance == 0.0:
        return difference > 0.0
    return difference > t_quantile(doubt.freedom) * math.sqrt(doubt.variance)


def _item_part(first: Costs, second: Costs) -> list[SeedSpread]:
    """Variance of the mean difference by the choice of items, with its degrees of freedom."""
    if first.size == 0 or second.size == 0 or first.shape[1] != second.shape[1]:
        return []
    differences = second.mean(axis=0) - first.mean(axis=0)
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    return [SeedSpread(float(differences.var()) / count, count - 1)] if count > 1 else []


def _seed_part(first: Contender, second: Contender, among: Sequence[Contender]) -> SeedSpread:
    """Variance of the mean difference by the choice of seeds."""
    rest = [one for one in among if one.trial not in (first.trial, second.trial)]
    own = [
        SeedSpread(float(np.var(one.costs, ddof=1)), len(one.costs) - 1)
        if len(one.costs) > 1
        else SeedSpread(0.0, 0.0)
        for one in (first, second, *rest)
    ]
    both = zip(shared_spreads(own), (first, second), strict=False)
    parts = [SeedSpread(one.variance / len(of.costs), one.freedom) for one, of in both]
    return added(parts, max(part.freedom for part in parts))
