"""How far trials that end well still come down after each eighth of their budget.

    python -m benchmarks.search.remaining_gain [--without a,b]

The pruner's table comes from this: of each recorded task, the trials that ended within 1.3 of its
best, and of these the 5% that came down the most. The lowest figure of all tasks counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import numpy as np

from benchmarks.search.table import TABLES, Recorded, Table, read
from benchmarks.search.tasks import KEPT
from sweeper.search.cost_model.trial_costs import START

GOOD = 1.3
SHARE = 0.05


def remaining_gain(tables: Iterable[Table], *, random_head: bool) -> tuple[float, ...]:
    """Final loss over the lowest loss so far on the same items, after each eighth but the last.

    Args:
        tables: Recorded tasks.
        random_head: Of trials whose classification head began at random, or of all others.
    """
    lowest = [
        np.quantile(shares, SHARE, axis=0)
        for table in tables
        if (shares := [_shares(one) for one in _good(table, random_head)])
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
        and len(one.items) == table.rungs - 1
        and (one.parameters.get(START) == "random") == random_head
    ]


def _shares(one: Recorded) -> np.ndarray:
    # A study looks at every second rung, and does not see lucky losses in between.
    losses = one.items.mean(axis=1)
    so_far = np.asarray([losses[rung::-2].min() for rung in range(len(losses))])
    return np.asarray(one.final[: one.items.shape[1]].mean() / so_far)


def others(*names: str) -> list[Table]:
    """All recorded tasks but these."""
    return [
        read(path.stem, TABLES) for path in sorted(TABLES.glob("*.npz")) if path.stem not in names
    ]


def main() -> None:
    """Print both rows of the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.remaining_gain")
    parser.add_argument(
        "--without", default=",".join(KEPT), help="tasks that are left out, by comma"
    )
    chosen = parser.parse_args()
    tables = others(*chosen.without.split(","))
    for random_head in (True, False):
        gains = remaining_gain(tables, random_head=random_head)
        print("random head" if random_head else "other starts", gains)


if __name__ == "__main__":
    main()
