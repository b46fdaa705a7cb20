"""Whether rates that were best on other recorded data sets beat the rule book's defaults.

    python -m benchmarks.search.rates

The loss over the learning rate of each recorded task is smoothed, whatever the other parameters
are. The rate with the lowest loss on average over the other data sets is compared with the default
on the task that was left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.table import Recorded, Table, read

RATE = "learning_rate"
# Task and data set: tasks on one data set do not predict each other.
TASKS = {"intents": "banking77", "uneven-intents": "banking77", "payments": "banking77",
         "assistant": "snips7", "wellformed": "queries", "few-queries": "queries"}  # fmt: skip
GRID = np.linspace(-5.5, -1.5, 81)
# Width of the smoothing, in decades; a place needs this much weight of trials.
WIDTH, LEAST = 0.25, 2.0
# A diverged trial counts as this many times the best loss.
WORST = 20.0

Floats = NDArray[np.float64]


def curve(trials: list[Recorded]) -> Floats:
    """The logarithm of the loss above the best one at each rate; NaN where too few trials lie."""
    rates = np.log10([float(one.parameters[RATE]) for one in trials])
    losses = np.array([one.loss for one in trials])
    above = np.log(np.minimum(losses / losses.min(), WORST))
    found = np.full(len(GRID), np.nan)
    for place, at in enumerate(GRID):
        weights = np.exp(-(((rates - at) / WIDTH) ** 2) / 2)
        if weights.sum() >= LEAST:
            line = np.polyfit(rates - at, above, 1, w=np.sqrt(weights))
            found[place] = line[1]
    return found


def default(table: Table, strategy: str) -> float:
    """The rule book's default rate in the frozen plan of a task."""
    (candidate,) = (one for one in table.plan.candidates if one.strategy == strategy)
    return float(candidate.parameters[RATE].default)


def main() -> None:
    """Print one line for each strategy and task."""
    tables = {name: read(name) for name in TASKS}
    print("strategy task: loss above the best at the default, and at the rate of other data sets")
    for strategy in ("lora", "full"):
        curves = {
            name: curve([one for one in table.trials if one.strategy == strategy])
            for name, table in tables.items()
        }
        for name, own in curves.items():
            others = [c for other, c in curves.items() if TASKS[other] != TASKS[name]]
            rate = GRID[np.nanargmin(np.mean(others, axis=0))]
            planned = np.log10(default(tables[name], strategy))
            said, learnt = (np.expm1(np.interp(one, GRID, own)) for one in (planned, rate))
            print(f"{strategy} {name}: {said:.0%} at {10**planned:.1e}", end=", ")
            print(f"{learnt:.0%} at {10**rate:.1e}")


if __name__ == "__main__":
    main()
