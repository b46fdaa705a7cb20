"""How much pruning saves and costs, beside two oracles that bound what any pruner could save.

    python -m benchmarks.search.pruning [--tasks a,b] [--seeds 30] [--trials 20] [--held-out]
    python -m benchmarks.search.pruning --remaining-gain       the pruner's table

Twenty trials of each recorded task are searched without pruning and with it. Two oracles then
charge the trials of the search without pruning, which has seen all ends and is none the worse for
it:

- *foresight* knows how each trial ends, and stops whatever will not lead at the first rung that may
  prune;
- the *safe limit* stops a trial whose loss at a rung lies above that of every recorded trial of
  the task that ended in its best tenth.

With ``--held-out`` the pruner's table of remaining gains is computed without the task at hand.
Defaults count in full. A name that ends in ``-head`` is the task without the head.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import optuna

from benchmarks.search.gap import WITHOUT_HEAD
from benchmarks.search.replay import NO_PRUNER, OURS, answered_by, seeded, task_worlds
from benchmarks.search.score import mean
from benchmarks.search.table import TABLES, Recorded, Table, read
from benchmarks.search.tasks import KEPT
from benchmarks.search.world import Realised, TableWorld, rung_losses
from benchmarks.tables import head, line
from sweeper.search import pruner
from sweeper.search.alone import SearchResult, StopCondition, TrialCosts, search
from sweeper.search.cost_model.trial_costs import START
from sweeper.search.search import first_trials

# Tables in which trials report before their end, with and without the head.
TASKS = ",".join(f"{name}{without}" for name in WITHOUT_HEAD for without in ("", "-head"))
BEST_SHARE = 0.1
# Of the trials that ended within this factor of the best of their task, the share that came down
# the most makes the pruner's table of remaining gains.
GOOD, MOST_GAIN_SHARE = 1.3, 0.05


@dataclass(frozen=True)
class Bill:
    """What one search took, in full budgets, and how it ended.

    Args:
        pruned: With our own pruner.
        whole: Without pruning.
        foreseen: Without pruning, charged as foresight would have stopped it.
        enveloped: The same by the safe limit.
        worse: How far the incumbent's true loss lies above that of the search without pruning, as a
            share. Incumbents are chosen on half A of the validation items.
    """

    pruned: float
    whole: float
    foreseen: float
    enveloped: float
    worse: float


def foreseen(tried: Sequence[TrialCosts], known: int, first_rung: int) -> float:
    """Seconds of trials that are stopped at a rung where they will not lead.

    Args:
        tried: Trials of a search without pruning, in their order.
        known: How many of them, the first, were no search.
        first_rung: At which the others may be stopped.
    """
    seconds, best = 0.0, math.inf
    for number, one in enumerate(tried):
        loss = _loss(one)
        early = [report.seconds for report in one.reports.values() if report.rung <= first_rung]
        stops = number >= known and loss >= best and early
        seconds += early[-1] if stops else one.seconds
        best = min(best, loss)
    return seconds


def enveloped(tried: Sequence[TrialCosts], known: int, highest: Mapping[int, float]) -> float:
    """Seconds of trials that are stopped once their loss leaves the envelope.

    Args:
        tried: Trials of a search without pruning, in their order.
        known: How many of them, the first, were no search.
        highest: The upper edge of the envelope by rung, as ``envelope`` makes it.
    """
    seconds = 0.0
    for number, one in enumerate(tried):
        outside = (
            report.seconds
            for report in [*one.reports.values()][:-1]
            if number >= known and report.validation_loss > highest.get(report.rung, math.inf)
        )
        seconds += next(outside, one.seconds)
    return seconds


def _loss(trial: TrialCosts) -> float:
    return math.inf if trial.final is None else trial.final


def envelope(world: TableWorld) -> dict[int, float]:
    """The highest loss at each rung of the trials that ended in the best tenth."""
    done = sorted((one for one in world.ground.table.trials if one.complete), key=lambda t: t.loss)
    highest: dict[int, float] = {}
    for one in done[: math.ceil(BEST_SHARE * len(done))]:
        for rung, loss in enumerate(rung_losses(world, one)[:-1], 1):
            highest[rung] = max(highest.get(rung, 0.0), loss)
    return highest


def bill(task: str, seed: int, trials: int) -> Bill:
    """Search the same world twice: with our pruner, and without."""
    make = task_worlds(task)
    world = make(seed)
    plan, unit = seeded(world.plan, seed), world.unit
    starts = list(first_trials(plan, plan.budget.trials))
    searched: list[SearchResult] = []
    losses: list[float] = []
    for name in (NO_PRUNER, OURS):
        shown: list[Realised] = []
        objective = answered_by(make(seed), plan, shown)
        searched.append(
            search(
                plan,
                objective,
                StopCondition(trials),
                starts=starts,
                pruner=name,
                untrained=world.untrained,
            )
        )
        losses.append(_true_loss(searched[-1], shown))
    whole, ours = searched
    foresight = foreseen(whole.trials, len(starts), plan.budget.first_rung)
    safe = enveloped(whole.trials, len(starts), envelope(world))
    worse = losses[1] / losses[0] - 1
    return Bill(ours.seconds / unit, whole.seconds / unit, foresight / unit, safe / unit, worse)


def _true_loss(searched: SearchResult, shown: Sequence[Realised]) -> float:
    ended = zip(map(_loss, searched.trials), (one.truth for one in shown), strict=True)
    return min(ended)[1]


def cells(task: str, bills: Sequence[Bill]) -> list[str]:
    """One row of the table."""
    figures = ("whole", "pruned", "enveloped", "foreseen")
    means = [fmean(getattr(one, name) for one in bills) for name in figures]
    whole, ours, safe, _ = means
    saved = f"{(whole - ours) / (whole - safe):.2f}" if whole > safe else "–"
    worse = mean([100 * one.worse for one in bills])
    percent = f"{worse.value:+.1f} ({worse.low:+.1f} to {worse.high:+.1f})"
    return [task, *(f"{value:.1f}" for value in means), saved, percent]


def remaining_gain(without: Collection[str], *, random_head: bool) -> tuple[float, ...]:
    """Final loss over the lowest loss so far on the same items, after each eighth but the last.

    The lowest figure of all recorded tasks counts.

    Args:
        without: Tasks that are left out.
        random_head: Whether trials count whose classification head began at random, or all others.
    """
    tables = [read(path.stem) for path in sorted(TABLES.glob("*.npz")) if path.stem not in without]
    lowest = [
        np.quantile(shares, MOST_GAIN_SHARE, axis=0)
        for table in tables
        if (shares := [_gains(one) for one in _good(table, random_head)])
    ]
    # What was possible later was possible before.
    rising = np.minimum.accumulate(np.min(lowest, axis=0)[::-1])[::-1]
    return tuple(float(f"{one:.2f}") for one in rising)


def _good(table: Table, random_head: bool) -> list[Recorded]:
    done = [one for one in table.trials if one.complete]
    best = min(one.loss for one in done)
    return [
        one
        for one in done
        if one.loss <= GOOD * best
        and len(one.items) == table.plan.budget.rungs - 1
        and (one.parameters.get(START) == "random") == random_head
    ]


def _gains(one: Recorded) -> np.ndarray:
    # A study looks at every second rung, and does not see lucky losses in between.
    losses = one.items.mean(axis=1)
    so_far = np.asarray([losses[rung::-2].min() for rung in range(len(losses))])
    return np.asarray(one.final[: one.items.shape[1]].mean() / so_far)


def main() -> None:
    """Print a row a task, and one of all tasks together."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.pruning")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--held-out", action="store_true", help="leave the task out of its table")
    parser.add_argument("--remaining-gain", action="store_true", help="print the pruner's table")
    chosen = parser.parse_args()
    if chosen.remaining_gain:
        print("random head", remaining_gain(KEPT, random_head=True))
        print("other starts", remaining_gain(KEPT, random_head=False))
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    heads = ("task", "no pruning", "sweeper", "safe limit", "foresight", "share saved")
    print(head(*heads, "final loss, % above no pruning"))
    every: list[Bill] = []
    for task in chosen.tasks.split(","):
        if chosen.held_out:
            name = [task.removesuffix("-head")]
            pruner.END_RATIOS = remaining_gain(name, random_head=False)
            pruner.END_RATIOS_RANDOM_HEAD = remaining_gain(name, random_head=True)
        bills = [bill(task, seed, chosen.trials) for seed in range(chosen.seeds)]
        every += bills
        print(line(*cells(task, bills)), flush=True)
    print(line(*cells("all", every)))


if __name__ == "__main__":
    main()
