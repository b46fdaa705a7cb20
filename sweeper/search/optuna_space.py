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

from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter, ProposedTrial, RungCount, Space, StrategySpace
from sweeper.spec import Scalar
from sweeper.trials import Trial

STRATEGY = "strategy"


def rungs_of(parameters: Mapping[str, Scalar], full: RungCount) -> int:
    """How many rungs of a full budget a trial with these parameters has.

    At least one, and no more than there are.
    """
    epochs = parameters.get(EPOCHS)
    if epochs is None or not full.epochs:
        return full.rungs
    return min(full.rungs, max(1, round(full.rungs * float(epochs) / full.epochs)))


def candidate_key(space: Space, candidate: StrategySpace | Trial) -> str:
    """The name in the study of a candidate or of a trial's: its strategy, with the model if several
    compete."""
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
    named: dict[str, BaseDistribution] = {}
    for key, candidate in candidates(space).items():
        for name, parameter in candidate.parameters.items():
            if parameter.searched:
                extra = _own_values(space, candidate.strategy, name)
                named[f"{key}.{name}"] = distribution(parameter, extra)
    return {STRATEGY: CategoricalDistribution(tuple(candidates(space))), **named}


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


def holds(parameter: Parameter, chosen: Mapping[str, Scalar]) -> bool:
    """Whether the parameter exists beside the values that were chosen before it."""
    condition = parameter.condition
    return condition is None or chosen.get(condition.parameter) in condition.values


def suggest(
    trial: BaseTrial, space: Space, overrides: Mapping[str, Scalar] | None = None
) -> tuple[str, dict[str, Scalar]]:
    """Ask the study for one configuration.

    Args:
        trial: Optuna's trial. Values that it already has are kept, so that a trial which is
            tried again is the same trial.
        overrides: The user's values of parameters that are not searched.

    Returns:
        The candidate's key, and every parameter of it whose condition holds, by plain name.
    """
    keyed = candidates(space)
    key = str(_ask(trial, STRATEGY, CategoricalDistribution(tuple(keyed))))
    chosen: dict[str, Scalar] = {}
    for name, parameter in keyed[key].parameters.items():
        if not holds(parameter, chosen):
            continue
        if parameter.searched:
            registered = distribution(parameter, _own_values(space, keyed[key].strategy, name))
            chosen[name] = _ask(trial, f"{key}.{name}", registered)
        else:
            chosen[name] = (overrides or {}).get(name, parameter.default)
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
    chosen: dict[str, Scalar] = {}
    for name, parameter in candidate.parameters.items():
        if holds(parameter, chosen):
            chosen[name] = parameters.get(name, parameter.default)
    searched = {name for name, parameter in candidate.parameters.items() if parameter.searched}
    return named(key, {name: value for name, value in chosen.items() if name in searched})


def named(key: str, searched: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A candidate and values of its searched parameters, by the study's names."""
    return {STRATEGY: key} | {f"{key}.{name}": value for name, value in searched.items()}
