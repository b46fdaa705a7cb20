"""What going on with stopped trials could gain at most: an oracle that knows how each would end.

    python -m benchmarks.search.thaw [--tasks a,b] [--seeds 30] [--budgets 20] [--first-rung N]
        [--strategies a,b]

The search runs as ever, on tasks that are formulas or on recorded trials. Then the oracle goes on,
for nothing, with every stopped trial: a search that resumes trials cannot choose better among those
it began.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import optuna

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.replay import MOST_TRIALS, PLANNED_LIKE, answered_by, seeded
from benchmarks.search.score import mean
from benchmarks.search.table import TABLES, read
from benchmarks.search.world import Ground, Realised, TableWorld, World
from sweeper.plan import Plan
from sweeper.search.engine import StopCondition, search
from sweeper.search.starts import known_starts


@dataclass(frozen=True)
class Stopped:
    """One replay with its stopped trials.

    Args:
        ended: Completed trials.
        stopped: Stopped ones as they would have ended, with the budgets that were left of each.
        best: The best known.
    """

    ended: Sequence[Realised]
    stopped: Sequence[tuple[Realised, float]]
    best: Realised

    @property
    def incumbent(self) -> Realised:
        """What half A of the items says is best."""
        return min(self.ended, key=lambda one: one.first_half)

    @property
    def thawed(self) -> tuple[Realised, float] | None:
        """The stopped trial that would have become the incumbent, and what was left of it."""
        found = min(self.stopped, key=lambda one: one[0].first_half, default=None)
        if found is None or found[0].first_half >= self.incumbent.first_half:
            return None
        return found

    @property
    def gain(self) -> float:
        """By how much the oracle's incumbent is truly better, in shares of the best known."""
        if self.thawed is None:
            return 0.0
        return (self.incumbent.truth - self.thawed[0].truth) / self.best.truth


def stopped_in(plan: Plan, world: World, budgets: float, unit: float) -> Stopped:
    """Search once, and keep what the stopped trials would have come to."""
    known = world.beforehand
    realised: list[Realised] = []
    objective = answered_by(world, plan, realised)
    starts = [slot.fixed for slot in known_starts(plan, plan.budget.trials)]
    limit = StopCondition(MOST_TRIALS, budgets * unit - known.seconds)
    searched = search(plan, objective, limit, starts=starts, untrained=known.untrained)
    pairs = list(zip(searched.trials, realised, strict=True))
    return Stopped(
        [one for tried, one in pairs if tried.state == "COMPLETE"],
        [
            (one, (one.seconds[-1] - tried.seconds) / unit)
            for tried, one in pairs
            if tried.state == "PRUNED" and math.isfinite(one.first_half)
        ],
        world.best,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.thaw")
    parser.add_argument("--tasks", default="topical,form,misled,slow")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    parser.add_argument("--strategies", default="", help="of tables, instead of all")
    parser.add_argument("--first-rung", type=int, default=None, help="instead of the plan's")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for task in chosen.tasks.split(","):
        began = time.process_time()
        make = worlds(task, [name for name in chosen.strategies.split(",") if name])
        unit = make(0).unit
        replays = []
        for seed in range(chosen.seeds):
            world = make(seed)
            plan = seeded(world.plan, seed, chosen.first_rung)
            replays.append(stopped_in(plan, world, chosen.budgets, unit))
        print(line(task, replays, time.process_time() - began), flush=True)


def worlds(task: str, strategies: Sequence[str]) -> Callable[[int], FormulaWorld | TableWorld]:
    """What makes a formula or a table by that name, from a seed."""
    if task in KINDS:
        return partial(FormulaWorld, read(PLANNED_LIKE, TABLES).plan, KINDS[task])
    table = read(task, TABLES)
    return partial(TableWorld, Ground.of(table.only(strategies) if strategies else table))


def line(task: str, replays: Sequence[Stopped], seconds: float) -> str:
    """What the replays of one task say."""
    stopped = sum(len(one.stopped) for one in replays) / len(replays)
    left = sum(left for one in replays for _, left in one.stopped) / len(replays)
    thawed = [one.thawed for one in replays if one.thawed is not None]
    rest = sum(left for _, left in thawed) / len(thawed) if thawed else 0.0
    gain = mean([100 * one.gain for one in replays])
    regret = mean([100 * (one.incumbent.truth / one.best.truth - 1) for one in replays])
    return (
        f"{task}: {len(replays)} seeds, {stopped:.1f} stopped of which the rest would take "
        f"{left:.1f} budgets; in {len(thawed)} seeds one of them would have led, with {rest:.2f} "
        f"budgets left; regret {regret.value:.2f}%, the oracle's gain {gain.value:.2f} "
        f"({gain.low:.2f} to {gain.high:.2f}) points; {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
