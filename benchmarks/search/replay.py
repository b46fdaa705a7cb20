"""Replays a method on recorded trials, in simulated time.

Every method gets the same space, the same starts, the same losses and the same seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from benchmarks.search import race
from benchmarks.search.score import Replay
from benchmarks.search.table import TABLES, read
from benchmarks.search.world import Ground, Realised, TableWorld, is_scored
from sweeper.planning.budget.budget import first_rung
from sweeper.plans import Configuration, Plan
from sweeper.search.alone import Objective, StopCondition, search
from sweeper.search.cost_model.trial_costs import NOTHING
from sweeper.search.search import first_trials
from sweeper.spec import Scalar
from sweeper.trials import RungReport

MOST_TRIALS = 150


class Method(NamedTuple):
    """A sampler and a pruner, as ``sweep.yaml`` names them."""

    sampler: str
    pruner: str


OURS, RACE, NO_PRUNER = "sweeper", Method("", ""), "optuna:NopPruner"
METHODS = {
    OURS: Method(OURS, OURS),
    "TPE, median": Method("optuna:TPESampler", "optuna:MedianPruner"),
    "random": Method("optuna:RandomSampler", NO_PRUNER),
    # Bounds are stated, since Optuna's automatic ones wait for a first trial to end.
    "random, ASHA": Method(
        "optuna:RandomSampler",
        "optuna:SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)",
    ),
    "engineer": Method("benchmarks.search.engineer:Engineer", NO_PRUNER),
    "GP by strategy": Method("benchmarks.search.by_strategy:GaussianProcess", OURS),
    "SMAC by strategy": Method("benchmarks.search.by_strategy:Smac", OURS),
    "HEBO by strategy": Method("benchmarks.search.by_strategy:Hebo", OURS),
    "race": RACE,  # no sampler
}


def answered_by(world: TableWorld, plan: Plan, realised: list[Realised]) -> Objective:
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
    method: Method,
    world: TableWorld,
    seed: int,
    limit: float,
    starts: Sequence[Configuration] | None = None,
    trials: int = MOST_TRIALS,
) -> Replay:
    """Run one method for some seconds or trials, from the plan's starts or others."""
    if method is RACE:
        return race.run(world, limit)
    plan = seeded(world.plan, seed)
    realised: list[Realised] = []
    if starts is None:
        starts = list(first_trials(plan, plan.budget.trials))
    # Ours knows its baselines, and pays for what it knows.
    ours = method.sampler == OURS
    spent = world.baseline_seconds if ours else 0.0
    searched = search(
        plan,
        answered_by(world, plan, realised),
        StopCondition(trials, limit - spent),
        starts=starts,
        sampler=method.sampler,
        pruner=method.pruner,
        untrained=world.untrained if ours else NOTHING,
    )
    ended = []
    for one, shown in zip(searched.trials, realised, strict=True):
        spent += one.seconds
        if one.complete:
            ended.append((spent, shown))
    return Replay(tuple(ended), world.best, limit)


def seeded(plan: Plan, seed: int) -> Plan:
    """The plan with that seed, pruning from where it would be planned now."""
    # A table's plan was frozen when it was first recorded, and the planner has changed since.
    warmup = plan.candidates[0].parameters.get("warmup_ratio")
    first = first_rung(float(warmup.default) if warmup else 0.0, plan.budget.rung_every)
    budget = plan.budget.model_copy(update={"first_rung": first})
    return plan.model_copy(update={"seed": seed, "budget": budget})


def task_worlds(task: str, tables: Path = TABLES) -> Callable[[int], TableWorld]:
    """What makes the world of a task from a seed; ``NAME-head`` is a task without the head."""
    table = read(task.removesuffix("-head"), tables)
    without = task.endswith("-head")
    return partial(TableWorld, Ground.of(table.only(("lora", "full")) if without else table))
