"""Whether the expected improvement of the sampler comes: on recorded tasks.

    python -m benchmarks.search.next_trials [--tasks a,b] [--seeds 10] [--trials 25]

Searches run to their last trial. After each trial from the tenth on, the announced gain of the next
five is held against how far the best loss really fell with them: as the search saw it (half A of
the validation items), and without the noise of those items (all items, of the trial that led).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import optuna

from benchmarks.search.pruning import TASKS
from benchmarks.search.replay import answered_by, seeded, task_worlds
from benchmarks.search.world import Realised
from sweeper.search.engine import StopCondition, Tried, search
from sweeper.search.search import Asked, End, Restored, Search
from sweeper.search.starts import known_starts

NEXT = 5


@dataclass(frozen=True)
class Held:
    """One announcement, and what came. All in units of the noise that was announced.

    Args:
        task: Where.
        after: Trials that had ended.
        said: Expected gain of the next trial.
        seen: How far the best loss of the search fell with the next five.
        true: The same by the loss of the best trial on all items.
    """

    task: str
    after: int
    said: float
    seen: float
    true: float


def held(task: str, seed: int, trials: int) -> Iterator[Held]:
    """Search one task, and hold every announcement against the five trials after it."""
    world = task_worlds(task)(seed)
    plan = seeded(world.plan, seed, None)
    starts = list(known_starts(plan, plan.budget.trials))
    untrained = world.beforehand.untrained
    realised: list[Realised] = []
    searched = search(
        plan,
        answered_by(world, plan, realised),
        StopCondition(trials),
        starts=[one.fixed for one in starts],
        untrained=untrained,
    ).trials
    for after in range(1, len(searched) - NEXT + 1):
        begun = Search(plan, starts, untrained=untrained)
        begun.restore(_restored(one, one.number < len(starts)) for one in searched[:after])
        coming = begun.expected_gain()
        if coming is None:
            continue
        (loss, truth), (later, then) = (
            _best(searched[:end], realised) for end in (after, after + NEXT)
        )
        yield Held(task, after, coming.gain / coming.noise, (loss - later) / coming.noise,
                   (truth - then) / coming.noise)  # fmt: skip


def _restored(one: Tried, default: bool) -> Restored:
    asked = Asked(one.number, one.strategy, one.parameters, "default" if default else "search")
    loss = one.loss if one.state == "COMPLETE" else one.rungs[-1].loss if one.rungs else None
    if one.state == "FAIL" or loss is None or not math.isfinite(loss):
        return Restored(asked, one.rungs, End("FAIL", None, one.seconds, "diverged"))
    return Restored(asked, one.rungs, End(one.state, loss, one.seconds))


def _best(tried: tuple[Tried, ...], realised: list[Realised]) -> tuple[float, float]:
    losses = [math.inf if one.loss is None else one.loss for one in tried]
    leader = int(np.argmin(losses))
    return losses[leader], realised[leader].truth


def main() -> None:
    """Print what was said and what came."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.next_trials")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=25)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    for task in chosen.tasks.split(","):
        for seed in range(chosen.seeds):
            rows += list(held(task, seed, chosen.trials))
        mine = [one for one in rows if one.task == task]
        means = [np.mean([getattr(one, name) for one in mine]) for name in ("said", "seen", "true")]
        print(task, len(mine), *(f"{mean:.3f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
