"""The conditional space of a search as Optuna sees it.

Optuna gets one categorical ``strategy``, then its parameters, named ``<strategy>.<parameter>`` and
registered with the allowed range. The sampler handles best practice, priors and widening.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from sweeper.plans import Parameter, Space, StrategySpace
from sweeper.spec import Scalar

STRATEGY = "strategy"


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The distributions of the study, by their names in it."""
    by_name: dict[str, BaseDistribution] = {}
    for key, candidate in space.keyed.items():
        for name, parameter in candidate.parameters.items():
            if parameter.searched:
                user_values = _user_values(space, candidate.strategy, name)
                by_name[f"{key}.{name}"] = distribution(parameter, user_values)
    return {STRATEGY: CategoricalDistribution(tuple(space.keyed)), **by_name}


def _user_values(space: Space, strategy: str, name: str) -> list[Scalar]:
    user_trials = [trial.parameters for trial in space.own_trials if trial.strategy == strategy]
    return [parameters[name] for parameters in user_trials if name in parameters]


def distribution(parameter: Parameter, user_values: Sequence[Scalar] = ()) -> BaseDistribution:
    """The distribution of one parameter over its allowed range.

    Args:
        user_values: Values in the user's own trials, which widen the range if they lie outside it.
    """
    values = [parameter.default, *user_values]
    if parameter.kind == "categorical":
        choices = [*(parameter.allowed_choices or ()), *(parameter.choices or ()), *values]
        unique = {(type(choice), choice): choice for choice in choices}
        return CategoricalDistribution(tuple(unique.values()))
    numbers = [float(value) for value in values]
    bounds = (parameter.allowed_low, parameter.low, parameter.allowed_high, parameter.high)
    numbers += [bound for bound in bounds if bound is not None]
    low, high = min(numbers), max(numbers)
    # Values of the user's trials may lie between two steps.
    step = parameter.step if not user_values else None
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))
    return FloatDistribution(low, high, log=parameter.log, step=step)


def suggest(
    trial: BaseTrial, space: Space, given: Mapping[str, Scalar] | None = None
) -> tuple[str, dict[str, Scalar]]:
    """Ask the study for one configuration.

    Args:
        trial: Optuna's trial. Values that it already has are kept, so that a repeated trial stays
            the same.
        given: Values of parameters that are not searched; by default, their defaults.

    Returns:
        The candidate's key, and its parameters whose conditions hold, by names without the key.
    """
    keyed = space.keyed
    key = str(_suggest_value(trial, STRATEGY, CategoricalDistribution(tuple(keyed))))
    chosen: dict[str, Scalar] = {}
    for name, parameter in keyed[key].parameters.items():
        if not parameter.holds(chosen):
            continue
        if parameter.searched:
            registered = distribution(parameter, _user_values(space, keyed[key].strategy, name))
            chosen[name] = _suggest_value(trial, f"{key}.{name}", registered)
        else:
            chosen[name] = (given or {}).get(name, parameter.default)
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
    """Values for ``enqueue_trial``: the given values, and the defaults of other parameters."""
    return study_names(key, candidate.searched(candidate.defaults(parameters)))


def study_names(key: str, searched: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A candidate and values of its searched parameters, by their names in the study."""
    return {STRATEGY: key} | {f"{key}.{name}": value for name, value in searched.items()}
