"""Which parameters of one strategy decide whether a trial is among the best: Optuna's PED-ANOVA.

Watanabe et al. 2023, arXiv:2304.10255. Shown with its range where each fifth of the trials is left
out in turn, since a few trials decide such an estimate.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning

from sweeper.findings.figures import Interval
from sweeper.spec import Scalar

# "Among the best" is the best quarter: of the twenty trials from which importances are shown, the
# five that Optuna's documentation asks for.
BEST_SHARE = 0.25
FOLDS = 5


def importances(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], parameters: Mapping[str, bool]
) -> dict[str, Interval]:
    """The share of each parameter that varied, with the range over what is left out.

    Args:
        rows: One configuration a trial; one that lacks a parameter did not have it.
        losses: Their validation losses.
        parameters: Names, and whether each is on a log scale.

    Returns:
        Shares that add up to one; empty where nothing varied.
    """
    names = [name for name in parameters if len({row.get(name) for row in rows}) > 1]
    if not names:
        return {}
    known = {name: _distribution(rows, name, log=parameters[name]) for name in names}
    whole = _shares(rows, losses, known)
    parts = [_shares(*_without(rows, losses, fold), known) for fold in range(min(FOLDS, len(rows)))]
    return {
        name: Interval(
            value=whole.get(name, 0.0),
            low=min(part.get(name, 0.0) for part in [whole, *parts]),
            high=max(part.get(name, 0.0) for part in [whole, *parts]),
            n=FOLDS,
        )
        for name in names
    }


def _without(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], fold: int
) -> tuple[list[Mapping[str, Scalar]], list[float]]:
    kept = [i for i in range(len(rows)) if i % FOLDS != fold]
    return [rows[i] for i in kept], [losses[i] for i in kept]


def _distribution(rows: Sequence[Mapping[str, Scalar]], name: str, *, log: bool) -> Any:
    values = [row[name] for row in rows if name in row]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=log and low > 0)


def _shares(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], known: Mapping[str, Any]
) -> dict[str, float]:
    # Not at the top: it loads scikit-learn, in 0.8 s, which a command without importances spares.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for row, loss in zip(rows, losses, strict=True):
        params = {name: row[name] for name in known if name in row}
        used = {name: known[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=used, value=loss))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
