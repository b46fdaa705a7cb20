"""Which searched parameters change the loss beyond noise, over all recorded tasks.

    python -m benchmarks.search.dimensions [--tasks a,b] [--permutations 19]

Optuna's functional ANOVA says which share of the variance of the loss each parameter explains,
among the better half of the trials of a task and a strategy: what tells good trials from better
ones is what a search can gain. A parameter counts if its share is above that with the losses
permuted, in all permutations (19: a chance of one in twenty for a parameter that does nothing).
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial

from benchmarks.search.table import TABLES, Recorded, Table, read
from sweeper.search import optuna_space

FEWEST = 30
TREES = 32


def good(table: Table, strategy: str) -> list[Recorded]:
    """The better half of a strategy's trials."""
    done = sorted((one for one in table.of(strategy) if one.complete), key=lambda one: one.loss)
    return done[: (len(done) + 1) // 2]


def shares(
    trials: list[Recorded], losses: np.ndarray, known: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """The share of the variance that each parameter explains."""
    study = optuna.create_study()
    for one, loss in zip(trials, losses, strict=True):
        params: dict[str, Any] = {name: one.parameters[name] for name in known}
        study.add_trial(create_trial(params=params, distributions=dict(known), value=float(loss)))
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    return dict(evaluator.evaluate(study))


def tested(table: Table, strategy: str, permutations: int) -> dict[str, tuple[float, bool]]:
    """The share of each parameter, and whether no permutation reaches it."""
    trials = good(table, strategy)
    prefix = f"{strategy}."
    known = {
        name.removeprefix(prefix): one
        for name, one in optuna_space.distributions(table.plan).items()
        if name.startswith(prefix)
    }
    known = {
        name: one
        for name, one in known.items()
        if all(name in trial.parameters for trial in trials)
        and all(one._contains(one.to_internal_repr(t.parameters[name])) for t in trials)
        and len({trial.parameters[name] for trial in trials}) > 1
    }
    if len(trials) < FEWEST or not known:
        return {}
    losses = np.log([one.loss for one in trials])
    own = shares(trials, losses, known)
    rng = np.random.default_rng(0)
    highest: dict[str, float] = defaultdict(float)
    for _ in range(permutations):
        for name, share in shares(trials, rng.permutation(losses), known).items():
            highest[name] = max(highest[name], share)
    return {name: (share, share > highest[name]) for name, share in own.items()}


def main() -> None:
    """Print a row a parameter."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.dimensions")
    parser.add_argument("--tasks", default=",".join(sorted(p.stem for p in TABLES.glob("*.npz"))))
    parser.add_argument("--permutations", type=int, default=19)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")  # Optuna calls parts of itself experimental
    rows: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    where: dict[str, list[str]] = defaultdict(list)
    for task in chosen.tasks.split(","):
        table = read(task)
        for candidate in table.plan.candidates:
            for name, found in tested(table, candidate.strategy, chosen.permutations).items():
                rows[name].append(found)
                if found[1]:
                    where[name].append(f"{task} {candidate.strategy}")
    print("| parameter | beyond noise | mean share | where |\n|---|---|---|---|")
    for name in sorted(rows, key=lambda one: -float(np.mean([share for share, _ in rows[one]]))):
        share = float(np.mean([share for share, _ in rows[name]]))
        count = sum(clear for _, clear in rows[name])
        print(f"| {name} | {count} of {len(rows[name])} | {share:.2f} | {', '.join(where[name])} |")


if __name__ == "__main__":
    main()
