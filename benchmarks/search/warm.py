"""What a warm start is worth, and what a misleading one costs, on tasks that are formulas.

    python -m benchmarks.search.warm [--tasks a,b] [--seeds 30] [--budgets 20]

The earlier study is made up: for each strategy the defaults with a learning rate that is right, or
wrong by so many decades. All facts are taken to be alike, which is when it counts most.
"""

from __future__ import annotations

import argparse
import time

import optuna

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.methods import METHODS, OURS
from benchmarks.search.replay import PLANNED_LIKE, replay
from benchmarks.search.score import BUDGETS, mean, mean_seconds
from benchmarks.search.table import TABLES, read
from sweeper.planning.plan import Hint, Plan
from sweeper.search import optuna_space

# Decades by which the earlier best rate is off; None for no warm start.
WRONG: tuple[float | None, ...] = (None, 0.0, 1.0, -1.5)


def hinted(plan: Plan, world: FormulaWorld, wrong: float | None) -> Plan:
    """The plan with what an earlier study would have left."""
    if wrong is None:
        return plan
    hints = []
    for key, one in optuna_space.candidates(plan).items():
        if not optuna_space.searchable(one):
            continue
        rate = one.parameters["learning_rate"]
        value = world._optimum(key, one.defaults()) * 10**wrong
        low, high = rate.allowed_low or 0.0, rate.allowed_high or 1.0
        searched = {name: v for name, v in one.defaults().items() if one.parameters[name].searched}
        hints.append(
            Hint(
                strategy=one.strategy,
                model=one.model,
                parameters={**searched, "learning_rate": min(high, max(low, value))},
                similarity=1.0,
                study="made up",
                loss=1.0,
            )
        )
    return plan.model_copy(update={"hints": tuple(hints)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.warm")
    parser.add_argument("--tasks", default="topical,form,misled,slow")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = read(PLANNED_LIKE, TABLES).plan
    for task in chosen.tasks.split(","):
        unit = FormulaWorld(plan, KINDS[task], 0).unit
        for wrong in WRONG:
            began = time.process_time()
            replays = []
            for seed in range(chosen.seeds):
                bare = FormulaWorld(plan, KINDS[task], seed)
                world = FormulaWorld(hinted(plan, bare, wrong), KINDS[task], seed)
                replays.append(
                    replay(world, METHODS[OURS], seed, chosen.budgets, unit, starts=True)
                )
            until = mean_seconds(replays)
            regrets = [mean([100 * one.regret(budget) for one in replays]) for budget in BUDGETS]
            told = " / ".join(f"{one.value:.1f} ({one.low:.1f}-{one.high:.1f})" for one in regrets)
            name = "none" if wrong is None else f"off by {wrong:g} decades"
            print(
                f"{task}, {name}: good enough after {until.value:.1f} budgets "
                f"({until.low:.1f}-{until.high:.1f}), regret % {told}, "
                f"{time.process_time() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
