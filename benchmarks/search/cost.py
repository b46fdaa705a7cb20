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
from collections.abc import Sequence

import numpy as np

from benchmarks.search.replay import seeded
from benchmarks.search.table import TABLES, read
from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Axis, axis_of
from sweeper.search.search import Search, known_starts
from sweeper.spec import Scalar
from sweeper.trials import Failure, FirstItems, RungReport, Trial, TrialResult

# Head, LoRA and full fine-tuning of a recorded task.
PLANNED_LIKE = "wellformed"
RUNGS, ITEMS, OF = 8, 64, 1200
# Shares of the earlier trials that were stopped at a rung, and that diverged.
STOPPED, DIVERGED = 0.35, 0.05
Earlier = tuple[Trial, Sequence[RungReport], TrialResult]
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

    def reports(self, trial: Trial) -> list[RungReport]:
        """What a trial shows when it trains to its end."""
        rate = self.keyed[trial.strategy].parameters.get("learning_rate")
        away = 0.0
        if rate is not None:
            away = math.log10(float(trial.parameters["learning_rate"]) / float(rate.default)) - 0.4
        end = (0.3 + 0.05 * min(away**2, 4.0)) * math.exp(0.02 * self.generator.normal())
        levels = [end + 0.2 * math.exp(-rung / 3) for rung in range(1, RUNGS + 1)]
        return [self._report(rung, level) for rung, level in enumerate(levels, 1)]

    def _report(self, rung: int, level: float) -> RungReport:
        items = self.pattern * np.exp(0.2 * self.generator.normal(size=ITEMS))
        items *= level * math.exp(0.02 * self.generator.normal()) / items.mean()
        seen = FirstItems.among(items.tolist(), OF)
        return RungReport(rung=rung, validation_loss=seen.loss, first_items=seen)

    def earlier(self, count: int) -> list[Earlier]:
        """The starts, then so many trials less that were drawn at random."""
        starts = list(known_starts(self.plan, count))
        keys = [key for key, one in self.keyed.items() if optuna_space.searchable(one)]
        trials = []
        for number in range(count):
            if number < len(starts):
                start = starts[number]
                parameters = self.keyed[start.strategy].defaults() | start.parameters
                trial = start.model_copy(update={"number": number, "parameters": parameters})
            else:
                key = keys[number % len(keys)]
                trial = Trial(number=number, strategy=key, model=self.keyed[key].model,
                              parameters=self.drawn(key), origin="search")  # fmt: skip
            trials.append(self._ended(trial, number < len(starts)))
        return trials

    def _ended(self, trial: Trial, given: bool) -> Earlier:
        reports, luck = self.reports(trial), self.generator.random()
        if given or luck > STOPPED + DIVERGED:
            return trial, reports, completed(reports)
        upto = 2 + int(self.generator.integers(5))
        if luck < DIVERGED:
            failure = Failure(kind="diverged", detail="")
            result = TrialResult(state="FAIL", failure=failure, training_seconds=2.0)
            return trial, reports[:1], result
        return trial, reports[:upto], TrialResult(state="PRUNED", training_seconds=2.5 * upto)


def completed(reports: Sequence[RungReport]) -> TrialResult:
    """The end of a trial that trained to its end."""
    loss = reports[-1].validation_loss
    return TrialResult(state="COMPLETE", validation_loss=loss, training_seconds=20.0)


def measured(strategies: int, earlier: int, trials: int) -> list[tuple[float, float, float]]:
    """CPU seconds of ask, reports and tell, of each of so many trials after the earlier ones.

    The first one comes after a restore, when nothing is known of the earlier trials but what they
    ended with.
    """
    plan = planned(strategies)
    task = Task(plan)
    search = Search(plan, list(known_starts(plan, earlier)))
    for one in task.earlier(earlier):
        search.restore(*one)
    gc.collect()  # of what was measured before
    return [_one(search, task) for _ in range(1 + trials)]


def _one(search: Search, task: Task) -> tuple[float, float, float]:
    began = time.process_time()
    trial = search.ask()
    took = time.process_time() - began
    reports = task.reports(trial)
    began = time.process_time()
    for report in reports:  # on to the end whatever the verdict, so that all trials cost alike
        search.report(trial.number, report)
    hearing = time.process_time() - began
    began = time.process_time()
    search.tell(trial.number, completed(reports))
    return took, hearing, time.process_time() - began


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
