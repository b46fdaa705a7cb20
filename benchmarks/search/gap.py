"""How much of what a search could gain over TPE ours gains: full budgets until good enough.

    python -m benchmarks.search.gap [--tasks a,b] [--seeds 30]

The oracle knows the best recorded configuration, or the optimum of a formula, and tries it after
the defaults. What it takes is the defaults and the noise of choosing on half of the items; where
a method takes less, luck among its many trials was good enough. The share of the gap that a
method closes is (TPE - method) / (TPE - oracle), pooled over the recorded tasks whose gap is at
least a fifth of what TPE with the median pruner takes. A name that ends in ``-head`` is the task
without the head.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import optuna

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.methods import METHODS, OURS, Method
from benchmarks.search.remaining_gain import KEPT
from benchmarks.search.replay import replay, task_worlds
from benchmarks.search.score import Replay, mean_seconds
from benchmarks.search.table import TABLES
from benchmarks.search.world import TableWorld
from sweeper.plans import Configuration
from sweeper.search.search import known_starts

BASELINE = "TPE, median"
COMPARED = (OURS, BASELINE, "engineer", "race", "GP by strategy")
# Tables that are replayed without the head too: where it is good enough, little is searched.
WITHOUT_HEAD = ("intents", "uneven-intents", "payments", "few-queries", "wellformed", "assistant")
LEAST_GAP = 0.2
_STARTS_ALONE = Method("oracle", "optuna:RandomSampler", "optuna:NopPruner")


def oracle(world: FormulaWorld | TableWorld, seed: int, budgets: float, unit: float) -> Replay:
    """The defaults, the optimum, and nothing else."""
    key, parameters = world.optimum
    candidate = world.plan.keyed[key]
    optimum = Configuration(
        strategy=candidate.strategy, model=candidate.model, parameters=dict(parameters)
    )
    starts = [*known_starts(world.plan, world.plan.budget.trials), optimum]
    return replay(world, _STARTS_ALONE, seed, budgets, unit, starts, trials=len(starts))


def budgets_until_good(task: str, seeds: int, budgets: float) -> dict[str, float]:
    """Full budgets until good enough, by method; the oracle among them."""
    make = task_worlds(task)
    unit = make(0).unit
    told: dict[str, float] = {}
    for name in COMPARED:
        replays = [replay(make(seed), METHODS[name], seed, budgets, unit) for seed in range(seeds)]
        told[name] = mean_seconds(replays).value
    oracles = [oracle(make(seed), seed, budgets, unit) for seed in range(seeds)]
    return told | {"oracle": mean_seconds(oracles).value}


def share(rows: Sequence[dict[str, float]], method: str) -> float:
    """The share of the gap that a method closes, pooled."""
    gained = sum(one[BASELINE] - one[method] for one in rows)
    possible = sum(one[BASELINE] - one["oracle"] for one in rows)
    return gained / possible if possible else 0.0


def main() -> None:
    """Print a row a task, and the pooled shares."""
    tables = sorted(path.stem for path in TABLES.glob("*.npz"))
    every = [*tables, *(f"{name}-head" for name in WITHOUT_HEAD), *KINDS]
    parser = argparse.ArgumentParser(prog="benchmarks.search.gap")
    parser.add_argument("--tasks", default=",".join(every))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = (*COMPARED, "oracle")
    print(f"| task | {' | '.join(names)} | share of the gap |\n|---|" + "---|" * (len(names) + 1))
    wide: dict[str, dict[str, float]] = {}
    for task in chosen.tasks.split(","):
        one = budgets_until_good(task, chosen.seeds, chosen.budgets)
        gap = one[BASELINE] - one["oracle"]
        shown = (
            f"{share([one], OURS):.2f}" if gap >= LEAST_GAP * one[BASELINE] else "little to gain"
        )
        print(
            f"| {task} | {' | '.join(f'{one[name]:.1f}' for name in names)} | {shown} |", flush=True
        )
        if shown != "little to gain":
            wide[task] = one
    groups = {
        "recorded, all but the one kept from tuning": [
            one for task, one in wide.items() if task not in KINDS and not task.startswith(KEPT)
        ],
        "kept from tuning": [one for task, one in wide.items() if task.startswith(KEPT)],
        "formulas": [one for task, one in wide.items() if task in KINDS],
    }
    for title, rows in groups.items():
        if rows:
            shares = ", ".join(
                f"{name} {share(rows, name):.2f}" for name in COMPARED if name != BASELINE
            )
            print(f"{title}: {shares}")


if __name__ == "__main__":
    main()
