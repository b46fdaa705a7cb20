"""The conditional space of a search as Optuna sees it.

Optuna gets one categorical ``strategy``, then its parameters, named ``<strategy>.<parameter>`` and
registered with the allowed range. The sampler handles best practice, priors and widening.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter, ProposedTrial, RungCount, Space, StrategySpace
from sweeper.spec import Scalar
from sweeper.trials import Trial

STRATEGY = "strategy"


def rungs_of(parameters: Mapping[str, Scalar], full: RungCount) -> int:
    """The number of rungs of a trial with these parameters.

    At least one, and at most those of a full budget.
    """
    epochs = parameters.get(EPOCHS)
    if epochs is None or not full.epochs:
        return full.rungs
    return min(full.rungs, max(1, round(full.rungs * float(epochs) / full.epochs)))


def candidate_key(space: Space, candidate: StrategySpace | Trial) -> str:
    """The candidate's key in the study, given the candidate or a trial of it: its strategy, with
    the model if several compete."""
    same = [other for other in space.candidates if other.strategy == candidate.strategy]
    return candidate.strategy if len(same) == 1 else f"{candidate.strategy}@{candidate.model}"


def candidates(space: Space) -> dict[str, StrategySpace]:
    """Every candidate by its key, in the plan's order."""
    return {candidate_key(space, candidate): candidate for candidate in space.candidates}


def proposed(space: Space) -> dict[str, ProposedTrial]:
    """The configurations to try early, by the candidate's key."""
    keys = {
        (candidate.strategy, candidate.model): key for key, candidate in candidates(space).items()
    }
    pairs = {(trial.strategy, trial.model): trial for trial in space.proposed}
    return {keys[pair]: trial for pair, trial in pairs.items() if pair in keys}


def searchable(candidate: StrategySpace) -> bool:
    """Whether a second trial of the candidate could differ from the first."""
    return not candidate.one_trial and any(
        parameter.searched for parameter in candidate.parameters.values()
    )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """All distributions of the study by name, a function of the space alone."""
    study_names: dict[str, BaseDistribution] = {}
    for key, candidate in candidates(space).items():
        for name, parameter in candidate.parameters.items():
            if parameter.searched:
                extra = _user_values(space, candidate.strategy, name)
                study_names[f"{key}.{name}"] = distribution(parameter, extra)
    return {STRATEGY: CategoricalDistribution(tuple(candidates(space))), **study_names}


def _user_values(space: Space, strategy: str, name: str) -> list[Scalar]:
    user_trials = [trial.parameters for trial in space.own_trials if trial.strategy == strategy]
    return [parameters[name] for parameters in user_trials if name in parameters]


def distribution(parameter: Parameter, extra: list[Scalar] | None = None) -> BaseDistribution:
    """One parameter at its allowed range.

    Args:
        extra: Values in the user's own trials. They belong to the study too, so that a value
            outside of the allowed range widens it.
    """
    values = [parameter.default, *(extra or [])]
    if parameter.kind == "categorical":
        choices = [*(parameter.allowed_choices or ()), *(parameter.choices or ()), *values]
        unique = {(type(choice), choice): choice for choice in choices}
        return CategoricalDistribution(tuple(unique.values()))
    numbers = [float(value) for value in values]
    bounds = (parameter.allowed_low, parameter.low, parameter.allowed_high, parameter.high)
    numbers += [bound for bound in bounds if bound is not None]
    low, high = min(numbers), max(numbers)
    # Values of the user's trials may lie between two steps.
    step = parameter.step if not extra else None
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))
    return FloatDistribution(low, high, log=parameter.log, step=step)


def holds(parameter: Parameter, chosen: Mapping[str, Scalar]) -> bool:
    """Whether the parameter's condition holds, given the values chosen before it."""
    condition = parameter.condition
    return condition is None or chosen.get(condition.parameter) in condition.values


def suggest(
    trial: BaseTrial, space: Space, overrides: Mapping[str, Scalar] | None = None
) -> tuple[str, dict[str, Scalar]]:
    """Ask the study for one configuration.

    Args:
        trial: Optuna's trial. Values that it already has are kept, so that a repeated trial stays
            the same.
        overrides: The user's values of parameters that are not searched.

    Returns:
        The candidate's key, and its parameters whose conditions hold, by plain name.
    """
    keyed = candidates(space)
    key = str(_suggest_value(trial, STRATEGY, CategoricalDistribution(tuple(keyed))))
    chosen: dict[str, Scalar] = {}
    for name, parameter in keyed[key].parameters.items():
        if not holds(parameter, chosen):
            continue
        if parameter.searched:
            registered = distribution(parameter, _user_values(space, keyed[key].strategy, name))
            chosen[name] = _suggest_value(trial, f"{key}.{name}", registered)
        else:
            chosen[name] = (overrides or {}).get(name, parameter.default)
    return key, chosen


def _suggest_value(trial: BaseTrial, name: str, domain: BaseDistribution) -> Scalar:
    if isinstance(domain, FloatDistribution):
        return trial.suggest_float(name, domain.low, domain.high, log=domain.log, step=domain.step)
    if isinstance(domain, IntDistribution):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step)
    choices = cast(CategoricalDistribution, domain).choices
    return cast(Scalar, trial.suggest_categorical(name, choices))


def enqueued_values(
    key: str, candidate: StrategySpace, parameters: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Values for ``enqueue_trial``: the given ones, and the rule book's defaults of the others."""
    chosen: dict[str, Scalar] = {}
    for name, parameter in candidate.parameters.items():
        if holds(parameter, chosen):
            chosen[name] = parameters.get(name, parameter.default)
    searched = {name for name, parameter in candidate.parameters.items() if parameter.searched}
    return study_names(key, {name: value for name, value in chosen.items() if name in searched})


def study_names(key: str, searched: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A candidate and values of its searched parameters, by their names in the study."""
    return {STRATEGY: key} | {f"{key}.{name}": value for name, value in searched.items()}
