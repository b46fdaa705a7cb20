"""Samplers and pruners by name: sweeper's, Optuna's, or the user's.

Names are ``sweeper``, ``optuna:TPESampler``, ``optuna:TPESampler(multivariate=True)`` and
``package.module:Class``; for pruners, also ``sweeper(first_rung=4)``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from sweeper.errors import Problem, SpecError, near_match
from sweeper.plans import Space
from sweeper.search import optuna_space
from sweeper.search.pruner import SweeperPruner

OURS = "sweeper"


def make_sampler(name: str, space: Space, number: int) -> BaseSampler:
    """Create a third-party sampler for one trial.

    Each trial has its own sampler, seeded by the study's seed and the trial's number: with one
    sampler, each resume would start its random state over and repeat trials.

    Raises:
        SpecError: The name is unknown, or the class cannot be created with these options.
    """
    seed = (space.seed * 1_000_003 + number) % 2**32
    sampler = _make(name, BaseSampler, {"seed": seed})
    assert isinstance(sampler, BaseSampler)
    return OnlySearchable(sampler, space)


def check_named(sampler: str, pruner: str, space: Space) -> None:
    """Check before any trial that a sampler and a pruner work on this space.

    Both are created and called once, in a temporary study.

    Raises:
        SpecError: The sampler or the pruner does not work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problems: list[Problem] = []
    for name, where in ((sampler, "search.sampler"), (pruner, "search.pruner")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # shown when the first trials are drawn
                _try_once(name, where, space)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def _try_once(name: str, where: str, space: Space) -> None:
    """Draw and report one trial with the sampler or pruner; sweeper's own need no test."""
    sampler: BaseSampler = RandomSampler()
    pruner: BasePruner | SweeperPruner = optuna.pruners.NopPruner()
    if where == "search.pruner":
        pruner = make_pruner(name, space)
    elif name != OURS:
        sampler = make_sampler(name, space, 0)
    if isinstance(pruner, SweeperPruner):
        return
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    with _as_spec_error(f"{name} cannot be used for this space", where):
        trial = study.ask()
        optuna_space.suggest(trial, space)
        trial.report(1.0, 1)
        pruner.prune(study, study.trials[0])


@contextlib.contextmanager
def _as_spec_error(what: str, where: str, fix: str = "") -> Iterator[None]:
    """Raise a ``SpecError`` for any exception of third-party code."""
    try:
        yield
    except Exception as error:
        raise SpecError(what, str(error) or type(error).__name__, fix, where) from error


def make_pruner(name: str, space: Space) -> BasePruner | SweeperPruner:
    """The pruner of a study.

    Raises:
        SpecError: The name is unknown, or the class cannot be created with these options.
    """
    if name.partition("(")[0] == OURS:
        return _sweeper_pruner(name, space)
    pruner = _make(name, BasePruner, {})
    assert isinstance(pruner, BasePruner)
    return pruner


def _sweeper_pruner(name: str, space: Space) -> SweeperPruner:
    _, options = _parse(name, "search.pruner")
    first, rungs = options.pop("first_rung", space.budget.first_rung), space.budget.rungs
    number = isinstance(first, int) and not isinstance(first, bool)
    if options or not number or not 1 <= first <= rungs:
        raise SpecError(
            f"cannot create {name}",
            "Its only option is first_rung, the earliest rung at which a trial may be stopped, "
            f"from 1 to {rungs}; with {rungs}, only trials that diverge are stopped.",
            "Write sweeper, or sweeper(first_rung=4).",
            "search.pruner",
        )
    return SweeperPruner(space, first)


def _make(name: str, base: type, options: dict[str, object]) -> object:
    """Create the named class with these options, as far as it takes them, and those of the name."""
    kind = base.__name__.removeprefix("Base").lower()
    where = f"search.{kind}"
    text, arguments = _parse(name, where)
    module_name, _, class_name = text.partition(":")
    fix = "Install it, run the command in its folder, or correct the name."
    with _as_spec_error(f"cannot import {module_name!r}", where, fix):
        module = _import(f"optuna.{kind}s" if module_name == "optuna" else module_name)
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        names = [each for each in dir(module) if _is_kind(getattr(module, each), base)]
        raise SpecError(
            f"{module_name} has no {kind} {class_name!r}",
            fix=near_match(class_name, names),
            where=where,
        )
    accepted = inspect.signature(cls).parameters
    options = {key: value for key, value in options.items() if key in accepted}
    with _as_spec_error(f"cannot create {name}", where):
        return cls(**{**options, **arguments})


def _import(module: str) -> ModuleType:
    # Let the command find modules in its working directory, as workers do.
    working_folder = str(Path.cwd())
    if working_folder not in sys.path:
        sys.path.append(working_folder)
    return importlib.import_module(module)


def _is_kind(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _parse(name: str, where: str) -> tuple[str, dict[str, Any]]:
    """Split ``module:Class(option=value)`` into the text before the bracket and the options."""
    text, bracket, rest = name.partition("(")
    try:
        call = ast.parse(f"f({rest}" if bracket else "f()", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or (":" not in text and text != OURS):
            raise ValueError("expected module:Class or module:Class(option=value)")
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise SpecError(
            f"{name!r} does not name a sampler or pruner",
            why=str(error),
            fix="Write sweeper, optuna:TPESampler, optuna:TPESampler(multivariate=True) or "
            "package.module:Class.",
            where=where,
        ) from error
    return text, options


class OnlySearchable(BaseSampler):
    """Wraps a sampler, and replaces drawn strategies that have only one possible trial."""

    def __init__(self, inner: BaseSampler, space: Space) -> None:
        self._inner = inner
        self._keys = [
            key for key, candidate in space.keyed.items() if candidate.searchable
        ] or list(space.keyed)

    def _searchable_key(self, key: object, number: int) -> object:
        return key if key in self._keys else self._keys[number % len(self._keys)]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = dict(self._inner.sample_relative(study, trial, search_space))
        if optuna_space.STRATEGY in drawn:
            drawn[optuna_space.STRATEGY] = self._searchable_key(
                drawn[optuna_space.STRATEGY], trial.number
            )
        return drawn

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = self._inner.sample_independent(study, trial, param_name, param_distribution)
        return (
            self._searchable_key(drawn, trial.number)
            if param_name == optuna_space.STRATEGY
            else drawn
        )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)
