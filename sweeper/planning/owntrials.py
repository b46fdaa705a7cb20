"""Checks the user's own configurations against the plan that they shall compete in."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.errors import Problem, SpecError, near_match
from sweeper.planning.epochs import EPOCHS
from sweeper.planning.plan import Candidate, Parameter, Rejected
from sweeper.spec import OwnTrial, Scalar


def check_own_trials(
    trials: Sequence[OwnTrial], candidates: Sequence[Candidate], rejected: Sequence[Rejected]
) -> None:
    """Every own configuration must name a competing strategy and parameters that it has.

    A number outside of the allowed range is the user's right and is not refused.

    Raises:
        SpecError: With all problems of all configurations.
    """
    problems: list[Problem] = []
    for index, trial in enumerate(trials):
        where = f"trials.{index}"
        models = sorted({c.model for c in candidates})
        if trial.model not in (None, *models):
            fix = near_match(str(trial.model), models)
            problems.append(Problem(f"model {trial.model!r} is not in this plan", "", fix, where))
            continue
        candidate = next((c for c in candidates if _runs_on(trial, c)), None)
        if candidate is None:
            why = next((r.reason for r in rejected if _names(trial, r)), "")
            what = f"{trial.strategy} does not compete in this plan"
            if trial.model is not None:
                what = f"{trial.strategy} on {trial.model} does not compete in this plan"
            problems.append(Problem(what, why, "Remove it, or change what rules it out.", where))
            continue
        for name, value in trial.parameters.items():
            problems += _problems(candidate, name, value, f"{where}.parameters.{name}")
    if problems:
        raise SpecError(problems)


def _runs_on(trial: OwnTrial, candidate: Candidate) -> bool:
    return trial.strategy == candidate.strategy and trial.model in (None, candidate.model)


def _names(trial: OwnTrial, rejected: Rejected) -> bool:
    return trial.strategy == rejected.strategy and trial.model in (None, rejected.model)


def _problems(candidate: Candidate, name: str, value: Scalar, where: str) -> list[Problem]:
    parameter = candidate.parameters.get(name)
    if parameter is None:
        what = f"{candidate.strategy} has no parameter {name!r}"
        return [Problem(what, "", near_match(name, candidate.parameters), where)]
    if parameter.kind == "categorical":
        return _choice(parameter, name, value, where)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and name == EPOCHS and float(value) > float(parameter.default):
        what = f"{name} = {value!r} is more than the full budget of {parameter.default:g}"
        fix = f"Ask for --epochs {value:g}, which every trial may then have."
        return [Problem(what, "All trials of a study share one full budget.", fix, where)]
    if not number or (parameter.log and float(value) <= 0):
        kind = "a whole number" if parameter.kind == "int" else "a number"
        bound = f"{kind} above 0" if parameter.log else kind
        return [Problem(f"{name} = {value!r}", f"It must be {bound}.", "", where)]
    if parameter.kind == "int" and float(value) != int(value):
        return [Problem(f"{name} = {value!r}", "It must be a whole number.", "", where)]
    return []


def _choice(parameter: Parameter, name: str, value: Scalar, where: str) -> list[Problem]:
    allowed = parameter.allowed_choices or parameter.choices or ()
    if value in allowed:
        return []
    fix = near_match(str(value), [str(choice) for choice in allowed])
    return [Problem(f"{name} = {value!r} is not known", "", fix, where)]
