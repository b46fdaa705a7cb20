"""What one trial costs the process that owns a search, in CPU seconds.

    python -m benchmarks.search.cost [--earlier 20,128,500,2000] [--strategies 3,7] [--trials 8]

A search that restored so many earlier trials asks, reports eight rungs with their items, hears each
verdict and tells the end. Earlier trials are drawn from the allowed ranges; losses are a formula.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.search.replay import seeded
from benchmarks.search.table import TABLES, read
from sweeper.plans import Candidate, Plan
from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Axis, axis_of
from sweeper.search.search import Asked, End, Restored, Rung, Search, known_starts
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

# Head, LoRA and full fine-tuning of a recorded task.
PLANNED_LIKE = "wellformed"
RUNGS, ITEMS, OF = 8, 64, 1200
# Shares of the earlier trials that were stopped at a rung, and that diverged.
STOPPED, DIVERGED = 0.35, 0.05
COLUMNS = ("ask", "8 reports", "tell", "sum", "dearest", "first")


def planned(strategies: int) -> Plan:
    """A plan of so many strategies: those of a recorded plan, then copies of LoRA's."""
    plan = seeded(read(PLANNED_LIKE, TABLES).plan, 0, None)
    lora = next(one for one in plan.candidates if one.strategy == "lora")
    more = [
        lora.model_copy(update={"strategy": f"adapter-{number}"})
        for number in range(strategies - len(plan.candidates))
    ]
    return plan.model_copy(update={"candidates": (*plan.candidates, *more)})


class Task:
    """Losses by a formula, with noise."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.plan = plan
        self.keyed = optuna_space.candidates(plan)
        self.known = optuna_space.distributions(plan)
        self.generator = np.random.default_rng(seed)
        self.pattern = np.exp(self.generator.normal(size=ITEMS))

    def drawn(self, key: str) -> dict[str, Scalar]:
        """A configuration from the allowed ranges."""
        chosen: dict[str, Scalar] = {}
        for name, one in self.keyed[key].parameters.items():
            if not optuna_space.holds(one, chosen):
                continue
            chosen[name] = one.default
            if one.searched:
                axis = axis_of(name, one, self.known[f"{key}.{name}"])
                chosen[name] = (
                    axis.value(float(self.generator.random()))
                    if isinstance(axis, Axis)
                    else axis.draw_any(self.generator)
                )
        return chosen

    def rungs(self, key: str, parameters: Mapping[str, Scalar]) -> list[Rung]:
        """What a trial shows when it trains to its end."""
        rate = self.keyed[key].parameters.get("learning_rate")
        away = 0.0
        if rate is not None:
            away = math.log10(float(parameters["learning_rate"]) / float(rate.default)) - 0.4
        end = (0.3 + 0.05 * min(away**2, 4.0)) * math.exp(0.02 * self.generator.normal())
        levels = [end + 0.2 * math.exp(-rung / 3) for rung in range(1, RUNGS + 1)]
        return [self._rung(rung, level) for rung, level in enumerate(levels, 1)]

    def _rung(self, rung: int, level: float) -> Rung:
        items = self.pattern * np.exp(0.2 * self.generator.normal(size=ITEMS))
        items *= level * math.exp(0.02 * self.generator.normal()) / items.mean()
        seen = FirstItems.among(items.tolist(), OF)
        return Rung(rung, seen.loss, seen)

    def earlier(self, count: int) -> list[Restored]:
        """The starts, then so many trials less that were drawn at random."""
        starts = list(known_starts(self.plan, count))
        keys = [key for key, one in self.keyed.items() if optuna_space.searchable(one)]
        trials = []
        for number in range(count):
            if number < len(starts):
                key = str(starts[number].fixed[optuna_space.STRATEGY])
                asked = Asked(number, key, _started(self.keyed[key], key, starts[number].fixed),
                              starts[number].origin)  # fmt: skip
            else:
                key = keys[number % len(keys)]
                asked = Asked(number, key, self.drawn(key), "search")
            trials.append(self._ended(asked, number < len(starts)))
        return trials

    def _ended(self, asked: Asked, given: bool) -> Restored:
        rungs, luck = self.rungs(asked.key, asked.parameters), self.generator.random()
        if given or luck > STOPPED + DIVERGED:
            return Restored(asked, rungs, End("COMPLETE", rungs[-1].loss, 20.0))
        upto = 2 + int(self.generator.integers(5))
        if luck < DIVERGED:
            return Restored(asked, rungs[:1], End("FAIL", None, 2.0, "diverged"))
        return Restored(asked, rungs[:upto], End("PRUNED", rungs[upto - 1].loss, 2.5 * upto))


def _started(candidate: Candidate, key: str, fixed: Mapping[str, Scalar]) -> dict[str, Scalar]:
    chosen: dict[str, Scalar] = {}
    for name, one in candidate.parameters.items():
        if optuna_space.holds(one, chosen):
            chosen[name] = fixed.get(f"{key}.{name}", one.default)
    return chosen


def measured(strategies: int, earlier: int, trials: int) -> list[tuple[float, float, float]]:
    """CPU seconds of ask, reports and tell, of each of so many trials after the earlier ones.

    The first one comes after a restore, when nothing is known of the earlier trials but what they
    ended with.
    """
    plan = planned(strategies)
    task = Task(plan)
    search = Search(plan, list(known_starts(plan, earlier)))
    search.restore(task.earlier(earlier))
    gc.collect()  # of what was measured before
    return [_one(search, task) for _ in range(1 + trials)]


def _one(search: Search, task: Task) -> tuple[float, float, float]:
    began = time.process_time()
    asked = search.ask()
    took = time.process_time() - began
    rungs = task.rungs(asked.key, asked.parameters)
    began = time.process_time()
    for rung in rungs:  # on to the end whatever the verdict, so that all trials cost alike
        search.report(asked.number, rung)
    reports = time.process_time() - began
    began = time.process_time()
    search.tell(asked.number, End("COMPLETE", rungs[-1].loss, 20.0))
    return took, reports, time.process_time() - began


def line(strategies: int, earlier: int, costs: Sequence[tuple[float, float, float]]) -> str:
    """Means and their sum, the sum of the dearest trial, and that of the first after a restore."""
    first, *others = costs
    means = [statistics.fmean(part) for part in zip(*others, strict=True)]
    told = (*means, sum(means), max(map(sum, others)), sum(first))
    return " ".join([f"{strategies:10} {earlier:8}", *(f"{one:10.4f}" for one in told)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.cost")
    parser.add_argument("--earlier", default="20,128,500,2000")
    parser.add_argument("--strategies", default="3,7")
    parser.add_argument("--trials", type=int, default=8)
    chosen = parser.parse_args()
    heads = " ".join(f"{column:>10}" for column in COLUMNS)
    print(f"{'strategies':>10} {'earlier':>8} {heads}")
    for strategies in map(int, chosen.strategies.split(",")):
        for earlier in map(int, chosen.earlier.split(",")):
            print(
                line(strategies, earlier, measured(strategies, earlier, chosen.trials)), flush=True
            )


if __name__ == "__main__":
    main()
