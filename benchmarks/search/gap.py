"""How much of what a search could gain over TPE ours gains: full budgets until good enough.

    python -m benchmarks.search.gap [--tasks a,b] [--methods a/b] [--seeds 30] [--budgets 20]

A budget is the time of one full trial of the first default. The oracle knows the best recorded
configuration, and tries it after the defaults. What it takes is the defaults and the noise of
choosing on half of the items. A method can take less by luck. The share of the gap that a method
closes is (TPE - method) / (TPE - oracle), pooled over the tasks of a group whose gap is at least a
fifth of what TPE with the median pruner takes. A name that ends in ``-head`` is the task without
the head. Intervals are bootstrapped over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import optuna

from benchmarks.search.replay import METHODS, NO_PRUNER, OURS, Method, replay, task_worlds
from benchmarks.search.score import DRAWS, Replay, mean
from benchmarks.search.table import TABLES, Floats
from benchmarks.search.tasks import KEPT
from benchmarks.search.world import TableWorld
from benchmarks.tables import head, line
from sweeper.plans import Configuration
from sweeper.search.search import first_trials

BASELINE, ORACLE = "TPE, median", "oracle"
COMPARED = (OURS, BASELINE, "engineer", "race", "GP by strategy")
# Tables that are replayed without the head too: where it is good enough, little is searched.
WITHOUT_HEAD = ("intents", "uneven-intents", "payments", "few-queries", "wellformed", "assistant")
LEAST_GAP = 0.2
_STARTS_ALONE = Method("optuna:RandomSampler", NO_PRUNER)
# Full budgets until good enough, a figure a seed, by method.
Row = dict[str, Floats]
Figure = Callable[[Sequence[Row], str], float]


def oracle(world: TableWorld, seed: int, limit: float) -> Replay:
    """The defaults, the best recorded configuration, and nothing else."""
    best = world.best_trial
    candidate = world.plan.keyed[best.strategy]
    optimum = Configuration(
        strategy=candidate.strategy, model=candidate.model, parameters=best.parameters
    )
    starts = [*first_trials(world.plan, world.plan.budget.trials), optimum]
    return replay(_STARTS_ALONE, world, seed, limit, starts, trials=len(starts))


def budgets_until_good(
    task: str, methods: Sequence[str], seeds: int, budgets: float, tables: Path = TABLES
) -> Row:
    """What each method and the oracle take; the limit where a search never was good enough."""
    make = task_worlds(task, tables)
    unit = make(0).unit

    def until(run: Callable[[TableWorld, int, float], Replay]) -> Floats:
        ends = [run(make(seed), seed, budgets * unit) for seed in range(seeds)]
        return np.asarray([min(one.reached(), one.limit) / unit for one in ends])

    row = {name: until(partial(replay, METHODS[name])) for name in methods}
    return row | {ORACLE: until(oracle)}


def pooled(rows: Sequence[Row], figure: Figure, method: str) -> str:
    """A figure of several tasks with its 95% interval, from seeds drawn anew within each task."""
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        again = []
        for row in rows:
            count = len(row[ORACLE])
            places = generator.integers(0, count, count)
            again.append({name: of[places] for name, of in row.items()})
        drawn.append(figure(again, method))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{figure(rows, method):.2f} ({low:.2f} to {high:.2f})"


def share(rows: Sequence[Row], method: str) -> float:
    """The share of the gap that a method closes."""
    gained = sum(float((row[BASELINE] - row[method]).mean()) for row in rows)
    possible = sum(float((row[BASELINE] - row[ORACLE]).mean()) for row in rows)
    return gained / possible if possible else 0.0


def cost(rows: Sequence[Row], method: str) -> float:
    """What a method takes, as a mean over tasks of its ratio to the baseline."""
    return float(np.mean([row[method].mean() / row[BASELINE].mean() for row in rows]))


def main() -> None:
    """Print a row a task, and the pooled shares and costs."""
    tables = sorted(path.stem for path in TABLES.glob("*.npz"))
    every = [*tables, *(f"{name}-head" for name in WITHOUT_HEAD)]
    parser = argparse.ArgumentParser(prog="benchmarks.search.gap")
    parser.add_argument("--tasks", default=",".join(every))
    parser.add_argument("--methods", default="/".join(COMPARED), help="separated by /")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    methods = chosen.methods.split("/")
    names = [*methods, ORACLE]
    print(head("task", *names, "share of the gap", "TPE - sweeper"))
    rows: dict[str, Row] = {}
    for task in chosen.tasks.split(","):
        row = budgets_until_good(task, methods, chosen.seeds, chosen.budgets)
        gap = float((row[BASELINE] - row[ORACLE]).mean())
        wide = gap >= LEAST_GAP * float(row[BASELINE].mean())
        shown = f"{share([row], OURS):.2f}" if wide else "little to gain"
        ahead = mean((row[BASELINE] - row[OURS]).tolist())
        cells = [f"{row[name].mean():.1f}" for name in names]
        cells += [shown, f"{ahead.value:.1f} ({ahead.low:.1f} to {ahead.high:.1f})"]
        print(line(task, *cells), flush=True)
        if wide:
            rows[task] = row
    kept = {task for task in rows if task.removesuffix("-head") in KEPT}
    groups = {
        "used for tuning": [row for task, row in rows.items() if task not in kept],
        "kept from tuning": [row for task, row in rows.items() if task in kept],
    }
    for title, group in groups.items():
        for name in methods if group else ():
            if name != BASELINE:
                part = pooled(group, share, name)
                times = pooled(group, cost, name)
                print(f"{title}, {name}: share of the gap {part}, cost {times} of {BASELINE}")


if __name__ == "__main__":
    main()
