"""The conditional space of a search as Optuna sees it.

Optuna gets one categorical ``strategy``, then its
parameters, named ``<strategy>.<parameter>`` and registered once at the allowed range; best
practice, priors and widening are in the sampler.
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

from sweeper.plans import Parameter, Space, StrategySpace
from sweeper.spec import Scalar

STRATEGY = "strategy"


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """All distributions of the study by name, a function of the space alone."""
    named: dict[str, BaseDistribution] = {}
    for key, candidate in space.keyed.items():
        for name, parameter in candidate.parameters.items():
            if parameter.searched:
                extra = _own_values(space, candidate.strategy, name)
                named[f"{key}.{name}"] = distribution(parameter, extra)
    return {STRATEGY: CategoricalDistribution(tuple(space.keyed)), **named}


def _own_values(space: Space, strategy: str, name: str) -> list[Scalar]:
    own = [trial.parameters for trial in space.own_trials if trial.strategy == strategy]
    return [parameters[name] for parameters in own if name in parameters]


def distribution(parameter: Parameter, extra: list[Scalar] | None = None) -> BaseDistribution:
    """One parameter at its allowed range.

    Args:
        extra: Values of the user's own trials. They belong to the study too, so a value outside
            of the allowed range stretches it.
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
    # Own values may lie between two steps.
    step = parameter.step if not extra else None
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))
    return FloatDistribution(low, high, log=parameter.log, step=step)


def suggest(
    trial: BaseTrial, space: Space, given: Mapping[str, Scalar] | None = None
) -> tuple[str, dict[str, Scalar]]:
    """Ask the study for one configuration.

    Args:
        trial: Optuna's trial. Values that it already has are kept, so that a trial which is
            tried again is the same trial.
        given: Values of parameters that are not searched, where they are not the default.

    Returns:
        The candidate's key, and every parameter of it whose condition holds, by plain name.
    """
    keyed = space.keyed
    key = str(_ask(trial, STRATEGY, CategoricalDistribution(tuple(keyed))))
    chosen: dict[str, Scalar] = {}
    for name, parameter in keyed[key].parameters.items():
        if not parameter.holds(chosen):
            continue
        if parameter.searched:
            registered = distribution(parameter, _own_values(space, keyed[key].strategy, name))
            chosen[name] = _ask(trial, f"{key}.{name}", registered)
        else:
            chosen[name] = (given or {}).get(name, parameter.default)
    return key, chosen


def _ask(trial: BaseTrial, name: str, among: BaseDistribution) -> Scalar:
    if isinstance(among, FloatDistribution):
        return trial.suggest_float(name, among.low, among.high, log=among.log, step=among.step)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(name, among.low, among.high, log=among.log, step=among.step)
    choices = cast(CategoricalDistribution, among).choices
    return cast(Scalar, trial.suggest_categorical(name, choices))


def fixed(
    key: str, candidate: StrategySpace, parameters: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Values for ``enqueue_trial``: the given ones, and the rule book's default of the rest."""
    return named(key, candidate.searched(candidate.defaults(parameters)))


def named(key: str, searched: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A candidate and values of its searched parameters, by the study's names."""
    return {STRATEGY: key} | {f"{key}.{name}": value for name, value in searched.items()}
