"""Whether the fall of the best loss with the last five trials foretells that with the next five.

    python -m benchmarks.search.next_trials [--tasks a,b] [--seeds 5] [--trials 30]

Recorded tasks are searched to their last trial. After each trial from the tenth on, what a run
would say (``sweeper.search.outlook``) is compared with the next five trials. Figures are shares of
the best loss.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import optuna
from scipy import stats

from benchmarks.search.pruning import TASKS
from benchmarks.search.replay import answered_by, seeded, task_worlds
from sweeper.search.engine import StopCondition, search
from sweeper.search.outlook import FEWEST_TRIALS, NEXT, outlook
from sweeper.search.starts import known_starts


def compared(task: str, seed: int, trials: int) -> Iterator[tuple[float, float]]:
    """The fall with the last five trials and with the next five, after each trial of one search."""
    world = task_worlds(task)(seed)
    plan = seeded(world.plan, seed, None)
    starts = [slot.fixed for slot in known_starts(plan, plan.budget.trials)]
    untrained = world.beforehand.untrained
    searched = search(plan, answered_by(world, plan, []), StopCondition(trials), starts=starts,
                      untrained=untrained)  # fmt: skip
    losses = [one.loss for one in searched.trials]
    seconds = [one.seconds for one in searched.trials]
    for ended in range(FEWEST_TRIALS, len(losses) - NEXT + 1):
        said = outlook(losses[:ended], seconds[:ended], workers=1)
        best = min(loss for loss in losses[:ended] if loss is not None)
        later = min(loss for loss in losses[: ended + NEXT] if loss is not None)
        if said is not None:
            yield said.gain / best, (best - later) / best


def main() -> None:
    """Print one line for all tasks."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.next_trials")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pairs = [
        pair
        for task in chosen.tasks.split(",")
        for seed in range(chosen.seeds)
        for pair in compared(task, seed, chosen.trials)
    ]
    said, came = np.array(pairs).T
    print(
        f"{len(pairs)} cases: the last five lowered the best loss by {said.mean():.2%}, the next "
        f"five by {came.mean():.2%}; by more than the last five in {np.mean(came > said):.0%}; "
        f"rank correlation {stats.spearmanr(said, came).statistic:.2f}"
    )


if __name__ == "__main__":
    main()
