"""How much of the spread of losses each parameter of one strategy explains.

Permutation importance of a random forest (Breiman 2001, Machine Learning 45:5) over several seeds:
their spread is shown with the mean, since one seed of such an estimate says little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweeper.findings.figures import Interval
from sweeper.spec import Scalar

SEEDS = 5
_TREES = 32
_REPEATS = 4


def importances(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], parameters: Mapping[str, bool]
) -> dict[str, Interval]:
    """The share of each parameter that varied, mean over seeds with the range of the seeds.

    Args:
        rows: One configuration a trial.
        losses: Their validation losses; ranks are explained, so that one bad trial decides nothing.
        parameters: Names, and whether each is on a log scale.

    Returns:
        Shares that add up to one, ``low``/``high`` the smallest and largest over the seeds; empty
        where nothing varied.
    """
    names = [name for name in parameters if len({row.get(name) for row in rows}) > 1]
    if not names:
        return {}
    features = np.column_stack([_column(rows, name, log=parameters[name]) for name in names])
    ranks = np.argsort(np.argsort(np.asarray(losses))).astype(np.float64)
    shares = np.array([_shares(features, ranks, seed) for seed in range(SEEDS)])
    return {
        name: Interval(
            value=float(shares[:, i].mean()),
            low=float(shares[:, i].min()),
            high=float(shares[:, i].max()),
            n=SEEDS,
        )
        for i, name in enumerate(names)
    }


def _shares(
    features: NDArray[np.float64], target: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    # Imported here: scikit-learn costs over a second of CPU, and most studies are too small to
    # show an importance at all.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(_TREES, min_samples_leaf=3, random_state=seed, n_jobs=1)
    forest.fit(features, target)
    found = permutation_importance(
        forest, features, target, n_repeats=_REPEATS, random_state=seed, n_jobs=1
    )
    weights = np.clip(found.importances_mean, 0.0, None)
    total = float(weights.sum())
    return np.asarray(weights / total if total > 0 else weights, dtype=np.float64)


def _column(rows: Sequence[Mapping[str, Scalar]], name: str, *, log: bool) -> NDArray[np.float64]:
    """A parameter as numbers: its own, its logarithm, or the place of a choice."""
    values = [row.get(name) for row in rows]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        numbers = [float(v) for v in values if v is not None]
        if log and min(numbers) > 0:
            numbers = [math.log(number) for number in numbers]
        return np.asarray(numbers, dtype=np.float64)
    places = {text: i for i, text in enumerate(sorted({str(v) for v in values}))}
    return np.asarray([places[str(v)] for v in values], dtype=np.float64)
