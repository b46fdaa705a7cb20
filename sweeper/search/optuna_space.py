"""The conditional space as Optuna sees it: one categorical ``strategy``, then its parameters.

Parameters are named ``<strategy>.<parameter>`` and registered once at the allowed range; best
practice, priors and widening are the sampler's business. Knows nothing about trials' results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, overload

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from sweeper.plans import Candidate, Hint, Parameter, Plan
from sweeper.search.problem import AnyCandidate, Problem, Space, StrategySpace
from sweeper.spec import Scalar

STRATEGY = "strategy"


def candidate_key(plan: Problem, candidate: AnyCandidate) -> str:
    """A candidate's name in the study: its strategy, with the model if several compete."""
    same = [other for other in plan.candidates if other.strategy == candidate.strategy]
    return candidate.strategy if len(same) == 1 else f"{candidate.strategy}@{candidate.model}"


@overload
def candidates(plan: Plan) -> dict[str, Candidate]: ...
@overload
def candidates(plan: Space) -> dict[str, StrategySpace]: ...
def candidates(plan: Problem) -> Mapping[str, AnyCandidate]:
    """Every candidate by its key, in the plan's order."""
    return {candidate_key(plan, candidate): candidate for candidate in plan.candidates}


def one_trial_keys(plan: Problem) -> tuple[str, ...]:
    """Keys of the candidates that never have a second trial."""
    return tuple(key for key, candidate in candidates(plan).items() if candidate.one_trial)


def hints(plan: Problem) -> dict[str, Hint]:
    """The best configurations of earlier studies, by the candidate's key."""
    known = {
        (candidate.strategy, candidate.model): key for key, candidate in candidates(plan).items()
    }
    pairs = {(hint.strategy, hint.model): hint for hint in plan.hints}
    return {known[pair]: hint for pair, hint in pairs.items() if pair in known}


def searchable(candidate: AnyCandidate) -> bool:
    """Whether a second trial of the candidate could differ from the first."""
    return not candidate.one_trial and any(
        parameter.searched for parameter in candidate.parameters.values()
    )


def distributions(plan: Problem) -> dict[str, BaseDistribution]:
    """All distributions of the study by name, a function of the frozen plan alone."""
    named: dict[str, BaseDistribution] = {}
    for key, candidate in candidates(plan).items():
        for name, parameter in candidate.parameters.items():
            if parameter.searched:
                extra = _own_values(plan, candidate.strategy, name)
                named[f"{key}.{name}"] = distribution(parameter, extra)
    return {STRATEGY: CategoricalDistribution(tuple(candidates(plan))), **named}


def _own_values(plan: Problem, strategy: str, name: str) -> list[Scalar]:
    own = [trial.parameters for trial in plan.own_trials if trial.strategy == strategy]
    return [parameters[name] for parameters in own if name in parameters]


def distribution(parameter: Parameter, extra: list[Scalar] | None = None) -> BaseDistribution:
    """One parameter at its allowed range.

    Args:
        parameter: From the plan.
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
    trial: BaseTrial, plan: Problem, overrides: Mapping[str, Scalar] | None = None
) -> tuple[str, dict[str, Scalar]]:
    """Ask the study for one configuration.

    Args:
        trial: Optuna's trial. Values that it already has are kept, so that a trial which is
            tried again is the same trial.
        overrides: The user's values of parameters that are not searched.

    Returns:
        The candidate's key, and every parameter of it whose condition holds, by plain name.
    """
    keyed = candidates(plan)
    key = str(_ask(trial, STRATEGY, CategoricalDistribution(tuple(keyed))))
    chosen: dict[str, Scalar] = {}
    for name, parameter in keyed[key].parameters.items():
        if not holds(parameter, chosen):
            continue
        if parameter.searched:
            known = distribution(parameter, _own_values(plan, keyed[key].strategy, name))
            chosen[name] = _ask(trial, f"{key}.{name}", known)
        else:
            chosen[name] = (overrides or {}).get(name, parameter.default)
    return key, chosen


def _ask(trial: BaseTrial, name: str, known: BaseDistribution) -> Scalar:
    if isinstance(known, FloatDistribution):
        return trial.suggest_float(name, known.low, known.high, log=known.log, step=known.step)
    if isinstance(known, IntDistribution):
        return trial.suggest_int(name, known.low, known.high, log=known.log, step=known.step)
    choices = cast(CategoricalDistribution, known).choices
    return cast(Scalar, trial.suggest_categorical(name, choices))


def fixed(key: str, candidate: AnyCandidate, parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Values for ``enqueue_trial``: the given ones, and the rule book's default of the rest."""
    chosen: dict[str, Scalar] = {}
    for name, parameter in candidate.parameters.items():
        if holds(parameter, chosen):
            chosen[name] = parameters.get(name, parameter.default)
    searched = {name for name, parameter in candidate.parameters.items() if parameter.searched}
    return {STRATEGY: key} | {
        f"{key}.{name}": value for name, value in chosen.items() if name in searched
    }
