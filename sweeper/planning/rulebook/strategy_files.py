"""Reading ``search_spaces/strategies/*.yaml``: each strategy's needs, quality and parameters.

Knows the format of the files, not what any strategy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.plan import Parameter
from sweeper.planning.rulebook.conditions import ALWAYS, Condition, parse_condition
from sweeper.planning.rulebook.parameter_reader import PARAMETER_KEYS, parse_parameter
from sweeper.planning.rulebook.shared_parameters import SharedParameters
from sweeper.yamlfile import Document, Path_, read

STRATEGY_KEYS = (
    "strategy",
    "title",
    "what",
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
    parameters: Mapping[str, DeclaredParameter]
    where: str


def load_strategies(
    folders: tuple[Path, ...], problems: list[Problem]
) -> dict[str, DeclaredStrategy]:
    """Every strategy file in these folders; a later folder's file replaces an earlier one's.

    A folder ``parameters`` beside one of strategies holds parameters that they include by name.
    Problems are appended; a file that holds one is still read as far as it goes.
    """
    shared = SharedParameters()
    documents: dict[str, Document] = {}
    for folder in folders:
        for document in shared.add(folder.with_name("parameters"), problems):
            _parameters(document.data, document, problems, ())
        for path in sorted(folder.glob("*.yaml")):
            document = read(path)
            problems += document.problems
            if isinstance(document.data, Mapping):
                documents[path.stem] = document
            else:
                what = "this file does not describe a strategy"
                problems.append(Problem(what, where=document.name))
    found: dict[str, DeclaredStrategy] = {}
    # those that extend no other first, so that they are whole where another extends them
    for name in sorted(documents, key=lambda name: documents[name].data.get("extends") is not None):
        document = documents[name]
        _include(document, documents, shared, problems)
        found[name] = _strategy(document, name, problems)
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def _include(
    document: Document,
    documents: Mapping[str, Document],
    shared: SharedParameters,
    problems: list[Problem],
) -> None:
    extends = document.data.get("extends")
    bases = [name for name, other in documents.items() if other.data.get("extends") is None]
    if extends is not None and extends not in bases:
        what, fix = f"extends {extends!r}", near_match(str(extends), bases)
        why = "That must be a strategy that extends no other."
        problems.append(Problem(what, why, fix, document.where(("extends",))))
    own = document.data.get("parameters")
    if own is None and extends in bases:
        document.data["parameters"] = own = {}
    if isinstance(own, Mapping):
        shared.include(document, documents.get(extends) if extends in bases else None, problems)


def _strategy(document: Document, stem: str, problems: list[Problem]) -> DeclaredStrategy:
    data = document.data
    _check_keys(data, document, (), STRATEGY_KEYS, _REQUIRED, problems)
    name = str(data.get("strategy", stem))
    if name != stem:
        problems.append(
            Problem(
                f"strategy = {name!r} in a file called {stem}.yaml",
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
        parameters=_parameters(data.get("parameters"), document, problems),
        where=document.where(("strategy",)),
    )


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
