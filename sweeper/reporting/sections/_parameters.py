"""Which learning rate and which rank? From the completed trials of each strategy.

Strategies are never pooled: their optima differ by an order of magnitude. "Within noise" is the
range of values whose trials cannot be told apart from the strategy's best on the same items. A
pair of trials that the search is judged by is told apart here where it is there.
Trials beyond a limit are never the best while others are within it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from pydantic import Field

from sweeper.artifact import Record
from sweeper.evaluation.significance import paired_error, t_quantile, weighted
from sweeper.findings.figures import Gain, Interval
from sweeper.findings.study.paired_trials import (
    ComparedPair,
    ComparedPairs,
    Pair,
    compare_pairs,
)
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategies import (
    gain_pairs,
    off_pairs,
    off_values,
    same_but_for,
    strategies_of,
)
from sweeper.hyperparameters import is_number
from sweeper.plans import Candidate, Parameter
from sweeper.spec import Scalar

# "Within 10% of a bound": the best may lie outside the range.
NEAR_BOUND = 0.1
# Under this many completed trials an importance is noise.
TRIALS_FOR_IMPORTANCE = 20
# "Among the best" is the best quarter: of the twenty trials from which importances are shown, the
# five that Optuna's documentation asks for.
BEST_SHARE = 0.25
FOLDS = 5


class ParameterFinding(Record):
    """What the trials of one strategy say about one parameter."""

    strategy: str
    parameter: str
    log: bool
    unit: str = ""
    trials: int = Field(0, description="number of completed trials used for this")
    default: Scalar | None = None
    low: float | None = Field(
        None, description="of the allowed range; in a plan, `low` is of best practice"
    )
    high: float | None = Field(None, description="of the allowed range")
    best: Scalar
    best_trial: int | None = None
    within_noise: tuple[Scalar, ...] = Field(
        (), description="choices that these trials cannot distinguish"
    )
    within_noise_trials: int = 0
    within_noise_low: float | None = None
    within_noise_high: float | None = None
    at_edge: Literal["low", "high"] | None = None
    importance: Interval | None = None
    varied: bool = True


class EffectFinding(Gain):
    """A trial with the effect of a parameter and one without, compared on validation."""

    strategy: str
    parameter: str
    with_trial: int
    without_trial: int
    same_configuration: bool = Field(description="the two differ in nothing else")


class Figures(Record):
    """Every searched parameter of every strategy, and what those that may be off are worth."""

    parameters: tuple[ParameterFinding, ...]
    effects: tuple[EffectFinding, ...] = ()
    best_strategy: str = Field("", description="of the best trial within the limits")


def effect_findings(run: RunFiles) -> tuple[EffectFinding, ...]:
    """Every parameter with an off value, of each strategy that completed trials with both."""
    pairs = {name: off_pairs(run, name) for name in off_values(run)}
    # What the search compares is not compared a second time.
    compared = compare_pairs(gain_pairs(run), [pair for own in pairs.values() for pair in own])
    return tuple(
        _effect(run, name, pair, compared.of(*pair)) for name, own in pairs.items() for pair in own
    )


def _effect(run: RunFiles, name: str, pair: Pair, comparison: ComparedPair | None) -> EffectFinding:
    without, with_it = pair
    return EffectFinding(
        strategy=with_it.config.strategy,
        parameter=name,
        with_trial=with_it.config.number,
        without_trial=without.config.number,
        same_configuration=same_but_for(name, *pair),
        **(comparison.gain(run.margin) if comparison else {}),
    )


def parameter_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[ParameterFinding, ...]:
    """Every searched parameter of every strategy that has a completed trial."""
    found: list[ParameterFinding] = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.ranked if trial.config.strategy == strategy]
        candidate = next((c for c in run.plan.candidates if c.strategy == strategy), None)
        if trials and candidate is not None:
            kept = list(filter(run.is_within, trials)) or trials
            found += _of_strategy(trials, kept, candidate, pairs)
    return tuple(found)


def _of_strategy(
    trials: list[TrialFiles], kept: list[TrialFiles], candidate: Candidate, pairs: ComparedPairs
) -> list[ParameterFinding]:
    searched = {
        name: parameter
        for name, parameter in candidate.parameters.items()
        if parameter.searched and name in trials[0].config.parameters
    }
    weights: dict[str, Interval] = {}
    if len(trials) >= TRIALS_FOR_IMPORTANCE:
        weights = importances(
            [trial.config.parameters for trial in trials],
            [trial.cost for trial in trials],
            {name: parameter.log for name, parameter in searched.items()},
        )
    tied = [trial for trial in kept if _tied(trial, kept[0], pairs)]
    return [
        _finding(trials, tied, candidate.strategy, name, parameter, weights.get(name))
        for name, parameter in searched.items()
    ]


def _finding(
    trials: list[TrialFiles],
    tied: list[TrialFiles],
    strategy: str,
    name: str,
    parameter: Parameter,
    importance: Interval | None,
) -> ParameterFinding:
    best = tied[0].config.parameters[name]
    values = [t.config.parameters[name] for t in trials if name in t.config.parameters]
    near = [t.config.parameters[name] for t in tied if name in t.config.parameters]
    varied = len(set(values)) > 1
    known, numeric = varied and len(near) > 1, parameter.kind != "categorical"
    numbers = [float(one) for one in near if known and is_number(one)] if numeric else []
    choices = sorted(set(near), key=str) if known and not numeric else []
    low, high = parameter.bounds
    return ParameterFinding(
        strategy=strategy,
        parameter=name,
        log=parameter.log,
        unit=parameter.unit,
        trials=len(values),
        default=parameter.default,
        low=low,
        high=high,
        best=best,
        best_trial=tied[0].config.number,
        within_noise=tuple(choices),
        within_noise_trials=len(near),
        within_noise_low=min(numbers, default=None),
        within_noise_high=max(numbers, default=None),
        at_edge=_edge(best, parameter) if varied else None,
        importance=importance if varied else None,
        varied=varied,
    )


def _tied(trial: TrialFiles, best: TrialFiles, pairs: ComparedPairs) -> bool:
    """Whether the paired interval of its losses against the best one's holds zero.

    The other pairs have nowhere else to agree with: t over the items of one training each, since
    drawing 500 trials' would take longer than the whole report may.
    """
    if trial is best:
        return True
    comparison = pairs.of(trial, best)
    if comparison is not None:
        return not comparison.clear or comparison.estimate.value < 0
    if trial.items is None or best.items is None:
        return False
    if trial.items.losses.size != best.items.losses.size:
        return False
    rows = np.stack([trial.items.losses, best.items.losses])
    gap, error = paired_error(*weighted(rows, best.items.weights))
    if not math.isfinite(error):
        return False
    return gap <= t_quantile(trial.items.losses.size - 1) * error


def _edge(best: Scalar, parameter: Parameter) -> Literal["low", "high"] | None:
    """Which bound of the allowed range the best value lies within 10% of."""
    low, high = parameter.bounds
    if low is None or high is None or not is_number(best) or high <= low:
        return None
    if parameter.log and low > 0:
        place = math.log(float(best) / low) / math.log(high / low)
    else:
        place = (float(best) - low) / (high - low)
    return "low" if place < NEAR_BOUND else "high" if place > 1 - NEAR_BOUND else None


def importances(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], parameters: Mapping[str, bool]
) -> dict[str, Interval]:
    """The share of each parameter that varied in what decides whether a trial is among the best.

    By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), with the range where each fifth of the
    trials is left out in turn, since a few trials decide such an estimate.

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
    parts = []
    for fold in range(min(FOLDS, len(rows))):
        kept = [i for i in range(len(rows)) if i % FOLDS != fold]
        parts.append(_shares([rows[i] for i in kept], [losses[i] for i in kept], known))
    return {
        name: Interval(
            value=whole.get(name, 0.0),
            low=min(part.get(name, 0.0) for part in [whole, *parts]),
            high=max(part.get(name, 0.0) for part in [whole, *parts]),
            n=FOLDS,
        )
        for name in names
    }


def _distribution(rows: Sequence[Mapping[str, Scalar]], name: str, *, log: bool) -> Any:
    values = [row[name] for row in rows if name in row]
    numbers = [value for value in values if is_number(value)]
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
