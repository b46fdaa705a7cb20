"""Replays recorded tasks in simulated time: ours beside what others would have done.

    python -m benchmarks.search.replay [--tasks a,b] [--methods a,b] [--seeds 30] [--json FILE]
        [--tables DIR] [--budgets 20]

Every method gets the same space, the same starts, the same losses and the same seconds. A budget
of 20 is the time of twenty full trials of the first default. A task is a recorded table, the same
without the head where its name ends in ``-head``, or a formula.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import optuna

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.methods import METHODS, OURS, Method
from benchmarks.search.score import BUDGETS, Replay, summary
from benchmarks.search.table import TABLES, read
from benchmarks.search.world import Beforehand, Ground, Realised, TableWorld, World, is_scored
from sweeper.planning.budget.budget import first_rung
from sweeper.plans import Configuration, Plan
from sweeper.search.alone import Objective, StopCondition, search
from sweeper.search.search import known_starts
from sweeper.spec import Scalar
from sweeper.trials import RungReport

MOST_TRIALS = 150
# Budgets, and the end, after which the incumbent's regret is told.
TOLD_AT = (*(f"{budget:g}" for budget in BUDGETS), "end")
# Formula tasks take space and budget from this table's plan.
PLANNED_LIKE = "wellformed"


def answered_by(world: World, plan: Plan, realised: list[Realised]) -> Objective:
    """An objective whose trials the world answers, and keeps in ``realised`` in their order."""

    def objective(
        strategy: str, parameters: dict[str, Scalar]
    ) -> Generator[RungReport, None, float | None]:
        one = world.trial(strategy, parameters)
        realised.append(one)
        last = one.ends_at or plan.budget.rungs
        first = last - len(one.losses) + 1
        for rung, loss, seconds in zip(count(first), one.losses, one.seconds, strict=False):
            if is_scored(plan, rung) or rung == last:
                items = one.scored[rung - 1] if rung <= len(one.scored) else None
                yield RungReport(
                    rung=rung, validation_loss=loss, first_items=items, training_seconds=seconds
                )
        return one.first_half

    return objective


def replay(
    world: World,
    method: Method,
    seed: int,
    budgets: float,
    unit: float,
    starts: Sequence[Configuration] | None = None,
    trials: int = MOST_TRIALS,
) -> Replay:
    """Run one method to the end of its time, or of its trials, from the plan's starts or others."""
    if method.module:
        made: Replay = importlib.import_module(method.module).run(world, seed, budgets, unit)
        return made
    plan = seeded(world.plan, seed)
    realised: list[Realised] = []
    objective = answered_by(world, plan, realised)
    if starts is None:
        starts = list(known_starts(plan, plan.budget.trials))
    # Ours knows its baselines, and pays for what it knows.
    known_before = world.beforehand if method.sampler == OURS else Beforehand()
    spent = known_before.seconds
    limit = StopCondition(trials, budgets * unit - spent, while_worth_it=method.stops)
    searched = search(
        plan,
        objective,
        limit,
        starts=starts,
        sampler=method.sampler,
        pruner=method.pruner,
        untrained=known_before.untrained,
    )
    ended = []
    for one, shown in zip(searched.trials, realised, strict=True):
        spent += one.seconds
        if one.complete:
            ended.append((spent, shown))
    counts = (len(searched.trials), len(ended))
    return Replay(tuple(ended), world.best, world.guessing, unit, budgets * unit, counts, spent)


def seeded(plan: Plan, seed: int) -> Plan:
    """The plan with that seed, pruning from where it would be planned now."""
    # A table's plan was frozen when it was first recorded, and the planner has changed since.
    warmup = plan.candidates[0].parameters.get("warmup_ratio")
    first = first_rung(float(warmup.default) if warmup else 0.0, plan.budget.rung_every)
    budget = plan.budget.model_copy(update={"first_rung": first})
    return plan.model_copy(update={"seed": seed, "budget": budget})


def line(name: str, told: dict[str, Any], seconds: float) -> str:
    until = told["budgets_until_good"]
    regrets = " ".join(_interval(told[f"regret_at_{at}"], 100) for at in TOLD_AT)
    return (
        f"{name:24} {_interval(until, 1)} {told['median_budgets']:6.1f} "
        f"{told['share_reached']:5.0%} {regrets} {told['trials']:5.0f} {told['completed']:5.1f} "
        f"{told['budgets']:5.1f} {seconds:5.1f}"
    )


def _interval(one: dict[str, float], scale: float) -> str:
    value, low, high = (one[key] * scale for key in ("value", "low", "high"))
    return f"{value:6.1f} ({low:5.1f} ..{high:6.1f})"


def task_worlds(task: str, tables: Path = TABLES) -> Callable[[int], FormulaWorld | TableWorld]:
    """What makes the world of a task from a seed."""
    if task in KINDS:
        return partial(FormulaWorld, read(PLANNED_LIKE, tables).plan, KINDS[task])
    table = read(task.removesuffix("-head"), tables)
    without = task.endswith("-head")
    return partial(TableWorld, Ground.of(table.only(("lora", "full")) if without else table))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.replay")
    parser.add_argument("--tasks", default="", help="comma-separated; all tables by default")
    parser.add_argument("--methods", default="", help="separated by /; the quick ones by default")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    parser.add_argument("--trials", type=int, default=MOST_TRIALS, help="end after so many")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tasks = [name for name in chosen.tasks.split(",") if name]
    tasks = tasks or sorted(path.stem for path in chosen.tables.glob("*.npz"))
    named = [name for name in chosen.methods.split("/") if name]
    methods = [METHODS[name] for name in named] or [m for m in METHODS.values() if not m.slow]
    told = {task: _task(task, methods, chosen) for task in tasks}
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _task(task: str, methods: list[Method], chosen: argparse.Namespace) -> dict[str, Any]:
    make = task_worlds(task, chosen.tables)
    plan, unit = make(0).plan, make(0).unit
    told: dict[str, Any] = {"unit_seconds": unit}
    first = seeded(plan, 0).budget.first_rung
    print(f"\n{task}: {told}, pruning from rung {first} of {plan.budget.rungs}, "
          f"{chosen.seeds} seeds")  # fmt: skip
    heads = " ".join(f"{f'regret % at {at}':>24}" for at in TOLD_AT)
    print(f"{'method':24} {'budgets until good':>24} median share {heads} tried ended spent   sec")
    for method in methods:
        began = time.process_time()
        replays = [
            replay(make(seed), method, seed, chosen.budgets, unit, trials=chosen.trials)
            for seed in range(chosen.seeds)
        ]
        told[method.name] = summary(replays)
        print(line(method.name, told[method.name], time.process_time() - began), flush=True)
    return told


if __name__ == "__main__":
    main()
