"""Whether searching the number of epochs pays: formula tasks that overfit, soon, later or never.

    python -m benchmarks.search.lengths [--kinds topical,form] [--seeds 12] [--trials 20]

A full budget is four epochs; trials may have one, two or all of them, or all have four. What is
learnt goes by the formulas; a constant rate keeps a loss above where a decay brings it; from a rung
on that comes the sooner the higher the rate, the loss rises again. As in the product, a trial has
the better of its end and its best rung, and ends early once it has risen. Each row tells how far
the incumbent's true loss lies above the best of a grid, and what twenty trials cost.
"""

from __future__ import annotations

import argparse
import math
import statistics
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import optuna

from benchmarks.search.design import BATCH
from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.replay import PLANNED_LIKE, seeded
from benchmarks.search.table import read
from sweeper.hyperparameters import EPOCHS
from sweeper.plan import Candidate, Parameter, Plan, Prior
from sweeper.planning.budget.epochs import lengths
from sweeper.search import space
from sweeper.search.engine import Rung, StopCondition, search
from sweeper.search.length import rungs_of
from sweeper.search.starts import known_starts
from sweeper.spec import Scalar

FULL_EPOCHS = 4.0
# Rungs after which the default overfits; the last is past the end.
TURNS = {"after one epoch": 2.0, "after two": 4.0, "never": 99.0}
TOLD_AT = (2.5, 5.0, 8.0)
# A constant rate ends so far above what a decay reaches; a rung past the turn costs so much, and
# more each; a rate ten times as high turns twice as soon. Sizes as recorded trials show them.
UNDECAYED, RISE, RISING, SOONER = 1.2, 0.12, 1.2, 0.3
# Two rungs after the best, so much above it, a trial is taken to overfit.
WAITED, RISEN = 2, 1.12


@dataclass(frozen=True)
class Shown:
    """What a trial shows: rungs with losses and seconds, the loss at its end, and without noise."""

    rungs: tuple[Rung, ...]
    end: float
    truth: float


@dataclass(frozen=True)
class Overfitting:
    """A formula task whose trials have a length.

    Args:
        world: The formula.
        turn: Rungs after which the default's loss rises again.
    """

    world: FormulaWorld
    turn: float

    def trial(self, key: str, parameters: Mapping[str, Scalar], noise: float = 1.0) -> Shown:
        """The trial; the same configuration gives the same trial again."""
        world, kind = self.world, self.world.kind
        truth, away = world._truth(key, parameters)
        if BATCH not in parameters:
            return Shown((Rung(world.plan.budget.rungs, truth, seconds=2.0),), truth, truth)
        generator = np.random.default_rng(
            zlib.crc32(repr((world.seed, key, sorted(parameters.items()))).encode())
        )
        start = (kind.frozen if parameters.get("head_init") == "probe" else 1.0) * world.guessing
        pace = max(0.2, 1 + 0.6 * min(away, 1.0)) / kind.speed
        turn, scatter = self.turn * 10 ** (-SOONER * away), 2 * noise * kind.noise
        count = world.plan.budget.rungs
        seconds = world._seconds(key, parameters)

        def level(rung: int, decayed: bool) -> float:
            left = max(0.0, start - truth) * math.exp(-pace * rung / count)
            beyond = RISE * truth * max(0.0, rung - turn) ** RISING
            return float(truth * (1.0 if decayed else UNDECAYED) + left + beyond)

        shown: list[Rung] = []
        best, at, end = math.inf, 0, math.inf
        last = rungs_of(parameters, world.plan.budget)
        for rung in range(1, last + 1):
            loss = level(rung, rung == last)
            luck = math.exp(world._shared[rung - 1] * (rung < last) + scatter * generator.normal())
            shown.append(Rung(rung, loss * luck, seconds=seconds[rung - 1]))
            if loss < best:
                best, at = loss, rung
            elif rung >= at + WAITED and loss > RISEN * best:
                break
        end = best
        return Shown(tuple(shown), end * math.exp(scatter / 2 * generator.normal()), end)

    @cached_property
    def best(self) -> float:
        """The lowest loss of a grid over strategies, starts, lengths and rates."""
        found = []
        for key, one in space.candidates(self.world.plan).items():
            defaults = one.defaults()
            if not space.searchable(one):
                found.append(self.trial(key, defaults, 0.0).truth)
                continue
            head = {"head_learning_rate": self.world._head_optimum()}
            for start in ("random", "probe"):
                for epochs in lengths(FULL_EPOCHS):
                    near = {**defaults, **head, "head_init": start, EPOCHS: epochs}
                    middle = self.world._optimum(key, near)
                    for decades in np.linspace(-1, 0.6, 17):
                        rate = {"learning_rate": middle * 10 ** float(decades)}
                        found.append(self.trial(key, near | rate, 0.0).truth)
        return min(found)


def planned(searched: bool) -> Plan:
    """The formulas' plan with four epochs, searched or not."""
    plan = read(PLANNED_LIKE).plan
    choices = lengths(FULL_EPOCHS)
    epochs = Parameter(
        kind="categorical",
        choices=choices,
        allowed_choices=choices,
        default=FULL_EPOCHS,
        prior=Prior(weights=(1.0,) * len(choices)),
        source="made up",
        searched=searched,
    )

    def with_epochs(one: Candidate) -> Candidate:
        if not space.searchable(one):
            return one
        return one.model_copy(update={"parameters": {**one.parameters, EPOCHS: epochs}})

    budget = plan.budget.model_copy(update={"epochs": FULL_EPOCHS})
    candidates = tuple(with_epochs(one) for one in plan.candidates)
    return plan.model_copy(update={"candidates": candidates, "budget": budget})


def searched(plan: Plan, kind: str, turn: float, seed: int, trials: int) -> list[float]:
    """One search: per cent above the best at some budgets and at its end, and budgets spent."""
    plan = seeded(plan, seed, None)
    task = Overfitting(FormulaWorld(plan, KINDS[kind], seed), turn)
    shown: list[Shown] = []

    def objective(key: str, parameters: dict[str, Scalar]) -> Generator[Rung, None, float | None]:
        one = task.trial(key, parameters)
        shown.append(one)
        yield from one.rungs
        return one.end

    starts = [slot.fixed for slot in known_starts(plan, trials)]
    found = search(plan, objective, StopCondition(trials), starts=starts)
    first = plan.candidates[0]
    unit = task.world._seconds(first.strategy, first.defaults())[-1]
    spent, incumbent = 0.0, (math.inf, math.inf)
    path: list[tuple[float, float]] = []
    for trial, one in zip(found.trials, shown, strict=True):
        spent += trial.seconds / unit
        if trial.state == "COMPLETE":
            incumbent = min(incumbent, (one.end, one.truth))
        path.append((spent, incumbent[1]))

    def above(budget: float) -> float:
        reached = [truth for at, truth in path if at <= budget] or [path[0][1]]
        return 100 * (reached[-1] / task.best - 1)

    return [*map(above, TOLD_AT), above(math.inf), spent]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.lengths")
    parser.add_argument("--kinds", default="topical,form")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--trials", type=int, default=20)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    heads = "  ".join(f"{f'% at {at:g}':>8}" for at in TOLD_AT)
    print(f"{'task':10} {'overfits':16} {'epochs':9} {heads}  {'% at end':>8}  {'budgets':>8}")
    for kind in chosen.kinds.split(","):
        for words, turn in TURNS.items():
            for name, plan in (("fixed", planned(False)), ("searched", planned(True))):
                rows = [
                    searched(plan, kind, turn, seed, chosen.trials) for seed in range(chosen.seeds)
                ]
                means = [statistics.fmean(column) for column in zip(*rows, strict=True)]
                figures = "  ".join(f"{mean:8.1f}" for mean in means)
                print(f"{kind:10} {words:16} {name:9} {figures}", flush=True)


if __name__ == "__main__":
    main()
