"""Reading ``search_spaces/strategies/*.yaml``: each strategy's needs, quality and parameters.

Knows the format of the files, not what any strategy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper.declared.files import document as document_of
from sweeper.declared.files import strategy_files
from sweeper.declared.traits import TRAIT_KEYS, Traits, find, read_traits
from sweeper.errors import Problem, RuleError, near_match
from sweeper.plan import Parameter
from sweeper.planning.rulebook.conditions import ALWAYS, Condition, parse_condition
from sweeper.planning.rulebook.parameter_reader import PARAMETER_KEYS, parse_parameter
from sweeper.yamlfile import Document, Path_, read

STRATEGY_KEYS = (
    "strategy",
    "title",
    "what",
    *TRAIT_KEYS,
    "order",
    "begins_as_base",
    "extends",
    "requires",
    "quality",
    "quantization",
    "optimizers",
    "gradient_checkpointing",
    "parameters",
)
_REQUIRED = ("strategy", "title", "what", "quality", "parameters")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must hold for a strategy to work at all, and what to say where it does not."""

    when: Condition
    otherwise: str
    source: str


@dataclass(frozen=True, slots=True)
class DeclaredParameter:
    """A parameter as its file declares it, before any rule; it exists only where ``when`` holds."""

    parameter: Parameter
    when: Condition
    where: str


@dataclass(frozen=True, slots=True)
class DeclaredStrategy:
    """One strategy as its file declares it.

    Args:
        order: Breaks ties between equal scores; smaller comes first.
        begins_as_base: Whether a model that it has not trained yet is the base model, so that the
            zero-shot loss says where its trials begin.
        optimizers: The first whose condition holds is used.
        quantization: Of the frozen base, as ``memory.Setup`` names it.
        gradient_checkpointing: Whether the method works with it.
        extends: The strategy whose parameters it has, besides its own.
        traits: What the strategy is, whatever its ranges.
    """

    name: str
    title: str
    what: str
    order: int
    begins_as_base: bool
    requires: tuple[Requirement, ...]
    quality: str
    quality_source: str
    quantization: str | None
    optimizers: tuple[tuple[Condition, str], ...]
    gradient_checkpointing: bool
    extends: str | None
    traits: Traits
    parameters: Mapping[str, DeclaredParameter]
    where: str


def load_strategies(
    folders: tuple[Path, ...], problems: list[Problem], files: tuple[Path, ...] = ()
) -> dict[str, DeclaredStrategy]:
    """Every strategy file in these folders; a later folder's file replaces an earlier one's.

    ``files`` are single files of installed packages, which count as the first folder.

    A folder ``parameters`` beside one of strategies holds parameters that every strategy has
    which trains for epochs. Problems are appended; a file that holds one is still read as far as
    it goes.
    """
    installed = set(strategy_files().paths.values())
    found: dict[str, DeclaredStrategy] = {}
    shared: dict[str, DeclaredParameter] = {}
    for folder in folders:
        for path in sorted(folder.with_name("parameters").glob("*.yaml")):
            document = read(path)
            problems += document.problems
            shared |= _parameters(document.data, document, problems, ())
    for path in (*files, *(path for folder in folders for path in sorted(folder.glob("*.yaml")))):
        document = document_of(path) if path in installed else read(path)
        problems += document.problems
        strategy = _strategy(document, path, problems)
        if strategy is not None:
            found[strategy.name] = strategy
    whole = {
        name: _with_shared(_extended(strategy, found, problems), shared)
        for name, strategy in found.items()
    }
    return dict(sorted(whole.items(), key=lambda item: (item[1].order, item[0])))


def _extended(
    strategy: DeclaredStrategy, found: Mapping[str, DeclaredStrategy], problems: list[Problem]
) -> DeclaredStrategy:
    if strategy.extends is None:
        return strategy
    parent = found.get(strategy.extends)
    if parent is None or parent.extends is not None:
        what = f"{strategy.name} extends {strategy.extends!r}"
        why = "That must be a strategy that extends no other."
        fix = near_match(strategy.extends, [n for n, s in found.items() if s.extends is None])
        problems.append(Problem(what, why, fix, strategy.where))
        return strategy
    return replace(strategy, parameters={**parent.parameters, **strategy.parameters})


def _with_shared(
    strategy: DeclaredStrategy, shared: Mapping[str, DeclaredParameter]
) -> DeclaredStrategy:
    if "num_train_epochs" not in strategy.parameters:
        return strategy
    others = {name: p for name, p in shared.items() if name not in strategy.parameters}
    return replace(strategy, parameters={**strategy.parameters, **others})


def _strategy(document: Document, path: Path, problems: list[Problem]) -> DeclaredStrategy | None:
    data = document.data
    if not isinstance(data, Mapping):
        problems.append(Problem("this file does not describe a strategy", where=document.name))
        return None
    _check_keys(data, document, (), STRATEGY_KEYS, _REQUIRED, problems)
    name = str(data.get("strategy", path.stem))
    if name != path.stem:
        problems.append(
            Problem(
                f"strategy = {name!r} in a file called {path.name}",
                "A strategy is found by the name of its file.",
                f"Rename the file to {name}.yaml.",
                document.where(("strategy",)),
            )
        )
    quality = data.get("quality")
    if not isinstance(quality, Mapping):
        quality = {"text": quality}
    if not quality.get("text") or not quality.get("source"):
        fix = "Write 'quality: {text: ..., source: ...}'."
        problems.append(
            Problem("quality needs a text and a source", "", fix, document.where(("quality",)))
        )
    return DeclaredStrategy(
        name=name,
        title=str(data.get("title", name)),
        what=str(data.get("what", "")),
        order=_whole(data.get("order", 100), document, ("order",), problems),
        begins_as_base=_switch(data, "begins_as_base", False, document, problems),
        requires=_requirements(data.get("requires"), document, problems),
        quality=str(quality.get("text", "")),
        quality_source=str(quality.get("source", "")),
        quantization=data.get("quantization"),
        optimizers=_optimizers(data.get("optimizers"), document, problems),
        gradient_checkpointing=_switch(data, "gradient_checkpointing", True, document, problems),
        extends=data.get("extends"),
        traits=_traits(data, document, path, problems),
        parameters=_parameters(data.get("parameters"), document, problems),
        where=document.where(("strategy",)),
    )


def _traits(
    data: Mapping[str, Any], document: Document, path: Path, problems: list[Problem]
) -> Traits:
    """The traits of a strategy. A file that lays other ranges over an installed one states none."""
    name = str(data.get("strategy", path.stem))
    installed = strategy_files().paths.get(name)
    if installed == path:
        try:
            return find(name) or Traits(name)
        except RuleError as error:
            problems += error.problems
            return Traits(name)
    if installed is None or any(key in data for key in TRAIT_KEYS):
        made = read_traits(data, document, problems)
        if made is None:
            return Traits(name)
        if installed is None or made == find(name):
            return made
        what = f"{name} is described otherwise in {installed}"
        why = f"A file of another folder may change its parameters, not {', '.join(TRAIT_KEYS)}."
        problems.append(Problem(what, why, "Leave them out.", document.where(("strategy",))))
    return find(name) or Traits(name)


def _check_keys(
    data: Mapping[str, Any],
    document: Document,
    path: Path_,
    known: tuple[str, ...],
    required: tuple[str, ...],
    problems: list[Problem],
) -> None:
    for key in data:
        if key not in known:
            where = document.where((*path, key))
            problems.append(
                Problem(f"there is no key {key!r} here", "", near_match(str(key), known), where)
            )
    for key in required:
        if data.get(key) in (None, "", {}):
            problems.append(Problem(f"{key} is missing", where=document.where(path)))


def _whole(value: Any, document: Document, path: Path_, problems: list[Problem]) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    problems.append(Problem(f"{value!r} is not a whole number", where=document.where(path)))
    return 0


def _switch(
    data: Mapping[str, Any], key: str, default: bool, document: Document, problems: list[Problem]
) -> bool:
    value = data.get(key, default)
    if isinstance(value, bool):
        return value
    where = document.where((key,))
    problems.append(Problem(f"{key} = {value!r} is neither true nor false", where=where))
    return default


def _requirements(
    data: Any, document: Document, problems: list[Problem]
) -> tuple[Requirement, ...]:
    found = []
    for index, item in enumerate(data or ()):
        path: Path_ = ("requires", index)
        keys = ("when", "otherwise", "source")
        if not isinstance(item, Mapping):
            problems.append(Problem(f"{item!r} is not a requirement", where=document.where(path)))
            continue
        _check_keys(item, document, path, keys, keys, problems)
        when = parse_condition(item.get("when"), document, (*path, "when"), problems)
        found.append(Requirement(when, str(item.get("otherwise")), str(item.get("source"))))
    return tuple(found)


def _optimizers(
    data: Any, document: Document, problems: list[Problem]
) -> tuple[tuple[Condition, str], ...]:
    found: list[tuple[Condition, str]] = []
    for index, item in enumerate(data or ()):
        path: Path_ = ("optimizers", index)
        if not isinstance(item, Mapping) or not isinstance(item.get("use"), str):
            fix = "Write '- {when: {...}, use: adamw_torch}'."
            problems.append(Problem("an optimizer needs 'use'", "", fix, document.where(path)))
            continue
        _check_keys(item, document, path, ("when", "use"), (), problems)
        when = parse_condition(item.get("when"), document, (*path, "when"), problems)
        found.append((when, item["use"]))
    return (*found, (ALWAYS, "adamw_torch"))


def _parameters(
    data: Any, document: Document, problems: list[Problem], top: Path_ = ("parameters",)
) -> dict[str, DeclaredParameter]:
    found: dict[str, DeclaredParameter] = {}
    if not isinstance(data, Mapping):
        return found
    for name, item in data.items():
        path: Path_ = (*top, name)
        where = document.where(path)
        if not isinstance(item, Mapping):
            problems.append(Problem(f"{name} = {item!r} is not a parameter", where=where))
            continue
        required = ("kind", "default", "source", "why")
        _check_keys(item, document, path, PARAMETER_KEYS, (), problems)
        missing = [key for key in required if key not in item]
        problems += [Problem(f"{name}.{key} is missing", where=where) for key in missing]
        when = parse_condition(item.get("when"), document, (*path, "when"), problems)
        if missing:
            continue
        parameter = parse_parameter(item, document, path, problems)
        if parameter is not None:
            found[name] = DeclaredParameter(parameter, when, where)
    _check_conditions(found, document, problems, top)
    return found


def _check_conditions(
    found: Mapping[str, DeclaredParameter], document: Document, problems: list[Problem], top: Path_
) -> None:
    """A conditional parameter's parent must stand before it and be able to take those values."""
    names = list(found)
    for name, declared in found.items():
        condition = declared.parameter.condition
        if condition is None:
            continue
        where = document.where((*top, name, "condition"))
        if condition.parameter not in names[: names.index(name)]:
            fix = near_match(condition.parameter, names)
            what = f"{name} depends on {condition.parameter!r}, which does not stand before it"
            problems.append(Problem(what, "", fix, where))
            continue
        parent = found[condition.parameter].parameter
        possible = parent.allowed_choices or ()
        for value in condition.values:
            if value not in possible:
                what = f"{condition.parameter} is never {value!r}"
                fix = near_match(str(value), [str(choice) for choice in possible])
                problems.append(Problem(what, "", fix, where))
