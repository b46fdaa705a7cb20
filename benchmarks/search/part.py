"""Whether the order of configurations on a part of the rows is that on all of them.

``python -m benchmarks.search.part`` reads the recorded trials of one epoch: at rung k of 8 such a
trial has seen k eighths of the rows once. Pairs whose final losses cannot be told apart by two
seeds are left out.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from benchmarks.search.table import Recorded, read
from benchmarks.search.tasks import TASKS
from sweeper.search.study_end import SEED_SHARE

RUNGS = (1, 2, 4)


def at(trial: Recorded, rung: int) -> float:
    """The mean loss of the items at a rung."""
    return float(np.nanmean(trial.items[rung - 1]))


def agreement(trials: list[Recorded], rung: int) -> tuple[int, int]:
    """Pairs in the same order at the rung and at the end, and all pairs that differ."""
    same = pairs = 0
    noise = np.sqrt(2) * SEED_SHARE
    for one, other in combinations(trials, 2):
        if abs(one.loss - other.loss) > noise * min(one.loss, other.loss):
            pairs += 1
            same += (at(one, rung) < at(other, rung)) == (one.loss < other.loss)
    return same, pairs


def excess(trials: list[Recorded], rung: int) -> float:
    """How far the final loss of the best at the rung is above the lowest, as a share."""
    best = min(one.loss for one in trials)
    return min(trials, key=lambda one: at(one, rung)).loss / best - 1


def main() -> None:
    """Print the shares by task, and over all tasks."""
    print("| task | trials | " + " | ".join(f"{rung}/8 of the rows" for rung in RUNGS) + " |")
    print("|---|---|" + "---|" * len(RUNGS))
    totals = np.zeros((len(RUNGS), 2))
    for name, task in TASKS.items():
        if task.epochs != 1.0:
            continue
        table = read(name)
        trials = [one for one in table.trials if one.complete and len(one.items) >= RUNGS[-1]]
        trials = [one for one in trials if one.seed == table.plan.seed]
        counts = np.array([agreement(trials, rung) for rung in RUNGS])
        totals += counts
        cells = [
            f"{same / pairs:.0%}, {excess(trials, rung):+.1%}"
            for rung, (same, pairs) in zip(RUNGS, counts, strict=True)
        ]
        print(f"| {name} | {len(trials)} | {' | '.join(cells)} |")
    shares = [f"{same / pairs:.1%} of {pairs:.0f}" for same, pairs in totals]
    print(f"| all | | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
