"""Whether other strategies' trials help to rank this one's, on recorded trials.

    python -m benchmarks.search.kin [--tasks a,b] [--tables DIR] [--draws 40]

For each strategy, the sampler's own model is told a few of its trials, drawn at random, and ranks
all others: once alone, once with as many trials of each other strategy beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.search.table import TABLES, Table, read
from benchmarks.search.world import axes_of
from sweeper.search import space
from sweeper.search.model import Known, Model, Trials
from sweeper.search.observations import Observation

TOLD = (4, 8, 16)
# Fewer held-out trials say nothing about ranks.
FEWEST_RANKED = 6
NOISE = 0.01


def observations(table: Table) -> dict[str, list[Observation]]:
    """Completed trials by strategy, of those that are searched."""
    return {
        key: [
            Observation(
                number=one.index,
                key=key,
                parameters=one.parameters,
                loss=one.loss,
                complete=True,
                running=False,
                failed=False,
                origin="search",
            )
            for one in table.of(key)
            if one.complete
        ]
        for key, candidate in space.candidates(table.plan).items()
        if space.searchable(candidate)
    }


def ranked(
    table: Table,
    told: Mapping[str, Sequence[Observation]],
    key: str,
    held_out: Sequence[Observation],
    with_others: bool,
) -> float:
    """Spearman's correlation of predicted and true losses of the held-out trials."""
    trials = {one: Trials(axes_of(table.plan, one), seen, Known()) for one, seen in told.items()}
    others = [one for other, one in trials.items() if other != key and with_others]
    model = Model(trials[key], lambda points: np.zeros(len(points)), Known(noise=NOISE), others)
    predicted = model.expected([one.parameters for one in held_out])
    return float(stats.spearmanr(predicted, [one.loss for one in held_out])[0])


def compared(table: Table, draws: int) -> None:
    """Print both correlations for each strategy and number of trials told."""
    known = observations(table)
    for key in known:
        for count in TOLD:
            if len(known[key]) < count + FEWEST_RANKED:
                continue
            pairs = []
            for seed in range(draws):
                generator = np.random.default_rng(seed)
                mixed = {one: [seen[k] for k in generator.permutation(len(seen))]
                         for one, seen in known.items()}  # fmt: skip
                told = {one: seen[:count] for one, seen in mixed.items()}
                pairs.append([ranked(table, told, key, mixed[key][count:], beside)
                              for beside in (False, True)])  # fmt: skip
            alone, beside = np.asarray(pairs).T
            print(f"{table.name} {key}: {count} told, alone {alone.mean():.2f}, "
                  f"with the others {beside.mean():.2f}, better in {(beside > alone).mean():.0%}",
                  flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.kin")
    parser.add_argument("--tasks", default="", help="comma-separated; all tables by default")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--draws", type=int, default=40)
    chosen = parser.parse_args()
    names = [name for name in chosen.tasks.split(",") if name]
    for name in names or sorted(path.stem for path in chosen.tables.glob("*.npz")):
        compared(read(name, chosen.tables), chosen.draws)


if __name__ == "__main__":
    main()
