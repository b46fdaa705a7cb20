"""How far five more trials lower the best loss, by the number of trials that have ended.

    python -m benchmarks.search.next_trials [--tasks a,b] [--seeds 6]

Recorded tasks are searched for thirty trials. The means are those of ``sweeper.search.study_end``.
Each is also made without one data set at a time, and compared with what came on that one. The last
lines say what a search loses and saves that ends at that number of trials instead of at twenty.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
import optuna

from benchmarks.search.pruning import TASKS
from benchmarks.search.replay import answered_by, seeded, task_worlds
from sweeper.search.engine import StopCondition, search
from sweeper.search.search import known_starts
from sweeper.search.study_end import GAINS, NEXT, SEED_SHARE

TRIALS, USUAL = 30, 20


@dataclass(frozen=True)
class Ended:
    """The final losses and seconds of one search; an infinite loss where a trial has none."""

    data: str
    losses: tuple[float, ...]
    seconds: tuple[float, ...]

    def gain(self, trials: int) -> float | None:
        """How far the next trials lower the best loss, as a share of it."""
        best, later = min(self.losses[:trials]), min(self.losses[: trials + NEXT])
        return None if math.isinf(best) else (best - later) / best


def ended(task: str, seed: int) -> Ended:
    """One search on a recorded task."""
    world = task_worlds(task)(seed)
    plan = seeded(world.plan, seed, None)
    starts = list(known_starts(plan, plan.budget.trials))
    untrained = world.beforehand.untrained
    found = search(plan, answered_by(world, plan, []), StopCondition(TRIALS), starts=starts,
                   untrained=untrained)  # fmt: skip
    losses, seconds = map(found.cost, found.trials), (one.result.seconds for one in found.trials)
    return Ended(task.removesuffix("-head"), tuple(losses), tuple(seconds))


def gains(searches: list[Ended], trials: int) -> np.ndarray:
    """The gains of the next trials, where any trial had completed."""
    found = (one.gain(trials) for one in searches)
    return np.array([gain for gain in found if gain is not None])


def main() -> None:
    """Print one line for each number of trials."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.next_trials")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", type=int, default=6)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searches = [
        ended(task, seed) for task in chosen.tasks.split(",") for seed in range(chosen.seeds)
    ]
    data = sorted({one.data for one in searches})
    print(f"{len(searches)} searches\ntrials  mean gain  any gain  left out: expected, came")
    for trials in GAINS:
        pairs = []
        for name in data:
            apart = gains([one for one in searches if one.data != name], trials).mean()
            pairs.append(
                f"{apart:.2%} {gains([o for o in searches if o.data == name], trials).mean():.2%}"
            )
        found = gains(searches, trials)
        print(f"{trials:6}  {found.mean():9.2%}  {np.mean(found > 0):8.0%}  {' | '.join(pairs)}")
    print("ends at  above the loss of twenty: mean, by more than two seeds differ  time saved")
    for trials in (count for count in GAINS if 10 <= count < USUAL):
        above = [min(o.losses[:trials]) / min(o.losses[:USUAL]) - 1 for o in searches]
        saved = [1 - sum(o.seconds[:trials]) / sum(o.seconds[:USUAL]) for o in searches]
        beyond = np.mean(np.array(above) > math.sqrt(2) * SEED_SHARE)
        print(f"{trials:7}  {np.mean(above):.2%}, {beyond:.0%}  {np.mean(saved):.0%}")


if __name__ == "__main__":
    main()
