"""What any pruner could save at most: one that knows at its first rung how each trial will end.

    python -m benchmarks.search.foresight [--tasks a,b] [--seeds 30] [--trials 20]
        [--strategies a,b] [--first-rung N]

Twenty trials are searched without pruning. Foresight then charges each searched trial that does not
become the new best only what it took up to the first rung that may prune; defaults count in full,
and the search is none the worse for it, since it has seen all ends.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from benchmarks.search.methods import OURS
from benchmarks.search.replay import answered_by, seeded, worlds
from benchmarks.search.score import mean
from benchmarks.search.world import World
from sweeper.search.engine import StopCondition, Tried, search
from sweeper.search.starts import known_starts

_NEVER = "optuna:NopPruner"


@dataclass(frozen=True)
class Bill:
    """What one search took, in full budgets.

    Args:
        pruned: With our own pruner.
        whole: Without pruning.
        foreseen: Without pruning, charged as foresight would have stopped it.
        led: How many searched trials became the new best.
    """

    pruned: float
    whole: float
    foreseen: float
    led: int


def foreseen(tried: Sequence[Tried], known: int, first_rung: int) -> tuple[float, int]:
    """Seconds of trials that are stopped where they will not lead, and how many led.

    Args:
        tried: Trials of a search without pruning, in their order.
        known: How many of them, the first, were no search.
        first_rung: At which the others may be stopped.
    """
    seconds, best, led = 0.0, math.inf, 0
    for number, one in enumerate(tried):
        loss = math.inf if one.loss is None else one.loss
        leads = loss < best
        led += leads and number >= known
        early = [rung.seconds for rung in one.rungs if rung.rung <= first_rung]
        stops = number >= known and not leads and early
        seconds += early[-1] if stops else one.seconds
        best = min(best, loss)
    return seconds, led


def bill(make: Callable[[int], World], seed: int, trials: int, first: int | None) -> Bill:
    """Search the same world twice: with our pruner, and without."""
    world = make(seed)
    plan, unit = seeded(world.plan, seed, first), make(seed).unit
    starts = [slot.fixed for slot in known_starts(plan, plan.budget.trials)]
    untrained = world.beforehand.untrained
    whole, ours = (
        search(
            plan, answered_by(make(seed), plan, []), StopCondition(trials),
            starts=starts, pruner=pruner, untrained=untrained,
        )
        for pruner in (_NEVER, OURS)
    )  # fmt: skip
    seconds, led = foreseen(whole.trials, len(starts), plan.budget.first_rung)
    return Bill(ours.seconds / unit, whole.seconds / unit, seconds / unit, led)


def main() -> None:
    """Print a line a task."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.foresight")
    parser.add_argument("--tasks", default="topical,form,misled,slow,kept")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--strategies", default="", help="of tables, instead of all")
    parser.add_argument("--first-rung", type=int, default=None, help="instead of the plan's")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for task in chosen.tasks.split(","):
        make = worlds(task, [name for name in chosen.strategies.split(",") if name])
        seeds = range(chosen.seeds)
        bills = [bill(make, seed, chosen.trials, chosen.first_rung) for seed in seeds]
        print(line(task, chosen.trials, bills), flush=True)


def line(task: str, trials: int, bills: Sequence[Bill]) -> str:
    """What the bills of one task say."""
    foresight = mean([one.foreseen for one in bills])
    ours, whole = (mean([getattr(one, name) for one in bills]) for name in ("pruned", "whole"))
    led = sum(one.led for one in bills) / len(bills)
    return (
        f"{task}: {trials} trials took {whole.value:.1f} full budgets without pruning, "
        f"{ours.value:.1f} with ours, {foresight.value:.1f} "
        f"({foresight.low:.1f} to {foresight.high:.1f}) with foresight; {led:.1f} searched trials "
        "became the new best"
    )


if __name__ == "__main__":
    main()
