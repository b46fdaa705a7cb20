"""What the noise leaves to gain: a search that knows the optimum and tries it after the defaults.

    python -m benchmarks.search.oracle [--tasks a,b] [--seeds 30] [--strategies a,b]

On tasks that are formulas or recorded, as in ``replay``. No method can be expected to need fewer
budgets; where one does, luck among its many trials was good enough.
"""

from __future__ import annotations

import argparse

import optuna

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.replay import answered_by, seeded, worlds
from benchmarks.search.score import Replay, mean, mean_seconds
from benchmarks.search.world import Realised, TableWorld
from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.engine import StopCondition, search
from sweeper.search.starts import known_starts


def told_the_optimum(
    plan: Plan, world: FormulaWorld | TableWorld, unit: float, budgets: float
) -> Replay:
    """The defaults, the optimum, and nothing else."""
    realised: list[Realised] = []
    objective = answered_by(world, plan, realised)
    key, parameters = world.optimum
    optimum = {
        optuna_space.STRATEGY: key,
        **{f"{key}.{name}": one for name, one in parameters.items()},
    }
    starts = [*(slot.fixed for slot in known_starts(plan, plan.budget.trials)), optimum]
    never = "optuna:NopPruner"
    searched = search(plan, objective, StopCondition(len(starts)), starts=starts, pruner=never)
    ended, spent = [], 0.0
    for one, shown in zip(searched.trials, realised, strict=True):
        spent += one.seconds
        ended.append((spent, shown))
    counts = (len(ended), len(ended))
    return Replay(tuple(ended), world.best, world.guessing, unit, budgets * unit, counts, spent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.oracle")
    parser.add_argument("--tasks", default=",".join(KINDS))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    parser.add_argument("--strategies", default="", help="of tables, instead of all")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for task in chosen.tasks.split(","):
        make = worlds(task, [name for name in chosen.strategies.split(",") if name])
        unit = make(0).unit
        replays = []
        for seed in range(chosen.seeds):
            world = make(seed)
            plan = seeded(world.plan, seed, None)
            replays.append(told_the_optimum(plan, world, unit, chosen.budgets))
        until = mean_seconds(replays)
        spent = mean([one.spent / unit for one in replays])
        print(
            f"{task}: good enough after {until.value:.1f} full budgets "
            f"({until.low:.1f} to {until.high:.1f}), where {spent.value:.1f} are spent",
            flush=True,
        )


if __name__ == "__main__":
    main()
