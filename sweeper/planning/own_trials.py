"""Checks the user's own configurations against the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.errors import Problem, SpecError, near_match
from sweeper.facts.record import ModelFacts
from sweeper.hyperparameters import EPOCHS, is_number, near_parameter
from sweeper.planning.declared_parameters import as_kind, same, value_problems
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.strategy_files import BookParameter
from sweeper.plans import Candidate, Configuration, Rejected
from sweeper.spec import Scalar, Spec, TrialRequest


def checked_own_trials(
    book: RuleBook,
    spec: Spec,
    models: Sequence[ModelFacts],
    candidates: Sequence[Candidate],
    rejected: Sequence[Rejected],
    epochs: float,
) -> tuple[Configuration, ...]:
    """The user's trials, with values in the plan's types (2 epochs as 2.0).

    Each trial must name a competing strategy and its parameters. A number outside of the allowed
    range is accepted, if training can use it.

    Raises:
        SpecError: A trial cannot be used; the error lists all problems.
    """
    problems: list[Problem] = []
    checked: list[Configuration] = []
    for index, trial in enumerate(spec.trials):
        where = spec.places.where(("trials", index))
        ids = sorted({c.model for c in candidates})
        if trial.model not in (None, *ids):
            fix = near_match(str(trial.model), ids)
            problems.append(Problem(f"model {trial.model!r} is not in this plan", "", fix, where))
            continue
        candidate = next((c for c in candidates if _names(trial, c)), None)
        if candidate is None:
            why = next((r.reason for r in rejected if _names(trial, r)), "")
            model = f" on {trial.model}" if trial.model is not None else ""
            what = f"{trial.strategy}{model} does not compete in this plan"
            problems.append(Problem(what, why, "Remove it, or change what rules it out.", where))
            continue
        in_book = book.strategies[trial.strategy].parameters
        context = next(model.context_length for model in models if model.id == candidate.model)
        room = context - candidate.setup.sequence_length
        trial_problems: list[Problem] = []
        for name, value in trial.parameters.items():
            at = spec.places.where(("trials", index, "parameters", name))
            trial_problems += _problems(candidate, in_book.get(name), name, value, at, epochs, room)
        problems += trial_problems
        if not trial_problems:
            planned = candidate.parameters
            # One type for each parameter: otherwise a study counts 2 and 2.0 as two choices.
            values = {name: as_kind(planned[name], item) for name, item in trial.parameters.items()}
            strategy, model = candidate.strategy, candidate.model
            checked.append(
                Configuration(strategy=strategy, model=model, parameters=values, origin="user")
            )
    if problems:
        raise SpecError(problems)
    return tuple(checked)


def _names(trial: TrialRequest, item: Candidate | Rejected) -> bool:
    return trial.strategy == item.strategy and trial.model in (None, item.model)


def _problems(
    candidate: Candidate,
    in_book: BookParameter | None,
    name: str,
    value: Scalar,
    where: str,
    epochs: float,
    room: int,
) -> Iterator[Problem]:
    """The problems of one value of a trial.

    Args:
        in_book: The parameter as the strategy's file declares it; None if it does not.
        room: Tokens of the model's context beyond those of the texts.
    """
    parameter = candidate.parameters.get(name)
    if in_book is not None and in_book.optional and parameter is None:
        fix = (
            f"Declare it too, for example 'parameters: {{{candidate.strategy}: {{{name}: ...}}}}'."
        )
        yield Problem(f"{name} exists only where 'parameters' declares it", "", fix, where)
    elif parameter is None or in_book is None:
        what = f"{candidate.strategy} has no parameter {name!r}"
        yield Problem(what, "", near_parameter(name, candidate.parameters), where)
    elif in_book.fitted:
        why = "Every value is tried within one trial, and validation chooses."
        yield Problem(f"{name} cannot be set", why, "Remove it.", where)
    elif name == EPOCHS and is_number(value) and float(value) > epochs:
        what = f"{name} = {value!r} is more than the full budget of {epochs:g}"
        fix = f"Give --epochs {value:g}, which raises the full budget of all trials."
        yield Problem(what, "All trials of a study share one full budget.", fix, where)
    elif name == "num_virtual_tokens" and is_number(value) and float(value) > room:
        why = f"The texts leave room for {room} tokens of the model's context."
        fix = "Use fewer, or give a lower --max-length."
        yield Problem(f"{name} = {value!r} does not fit into the context", why, fix, where)
    elif parameter.kind == "categorical" and (name == EPOCHS or in_book.possible is None):
        if not any(same(choice, value) for choice in parameter.allowed):
            fix = near_match(str(value), [str(choice) for choice in parameter.allowed])
            yield Problem(f"{name} = {value!r} is not known", "", fix, where)
    else:
        yield from value_problems(in_book, name, value, where)
