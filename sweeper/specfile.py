"""From ``sweep.yaml`` and flags to a ``Spec``, with every problem reported at once.

A problem has its file, line and key (or its flag), the bound that was broken, and the nearest valid
name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sweeper.artifact import require_version
from sweeper.errors import Problem, SpecError, SweeperError, UsageError, near_match
from sweeper.features import parts
from sweeper.spec import EVERY_STRATEGY, Places, Spec
from sweeper.traits.traits import known_strategies
from sweeper.yamlfile import Document, Path_, parse, problem_of, read


class FlaggedKey(NamedTuple):
    """A key of the spec that has a flag."""

    flag: parts.Flag
    field: FieldInfo


def _flagged(kind: Any, path: Path_ = ()) -> Iterator[tuple[Path_, FlaggedKey]]:
    for key, field in kind.model_fields.items():
        for flag in field.metadata:
            if isinstance(flag, parts.Flag) and flag.name:
                yield (*path, key), FlaggedKey(flag, field)
        several = get_origin(field.annotation) is tuple
        inner = get_args(field.annotation)[0] if several else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _flagged(inner, (*path, key, *((0,) if several else ())))


FLAGGED: dict[Path_, FlaggedKey] = dict(_flagged(Spec))
# The flag of every key that has one, so that a bad flag is named as it was typed.
FLAGS: dict[Path_, str] = {path: key.flag.name for path, key in FLAGGED.items()}


def resolve(
    flags: Mapping[Path_, Any],
    file: Path | Mapping[str, Any] | None = None,
    *,
    needs_model: bool = True,
) -> Spec:
    """Read the file, lay the flags over it, and check the whole.

    Args:
        flags: From the path of a key in the spec to the value of a flag; flags win.
        file: A ``sweep.yaml``, or its keys and values; these are changed.
        needs_model: Whether it is a mistake to name no model.

    Raises:
        OtherVersion: Another version of sweeper wrote the file.
        SpecError: With all problems of file and flags.
    """
    document = _read(file) if isinstance(file, Path) else Document("sweep.yaml", file or {})
    problems = list(document.problems)
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        fix = "Start it with 'task:', 'model:' and 'data:'."
        raise SpecError(
            "this file does not hold keys and values", "", fix, document.name, code="no-mapping"
        )
    require_version("Spec", data, document.where(("schema_version",)))
    data = _spell_out(data, document.lines)
    moved = _found_from_here(data, file) if isinstance(file, Path) else {}
    for path, value in flags.items():
        _put(data, path, value.value if isinstance(value, SetItem) else value)
    _name_folder(data, file if isinstance(file, Path) else None)
    for key, flag in (("task", "--task"), *([("models", "--model")] if needs_model else [])):
        if not data.get(key):
            fix = f"Add it to the file, or give {flag}: {Spec.model_fields[key].description}."
            where = flag if file is None else document.name
            problems.append(Problem(f"no {key.removesuffix('s')} is given", "", fix, where))
    places = Places(lambda path: _where(path, document, flags), moved)
    spec: Spec | None = None
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        problems += [
            problem_of(item, data, TypeAdapter(Spec), places)
            for item in error.errors()
            if (item["type"], item["loc"]) != ("missing", ("task",))
        ]
    if problems or spec is None:
        raise SpecError(sorted(dict.fromkeys(problems), key=_line))
    return spec.given_at(places)


def _line(problem: Problem) -> int:
    match = re.search(r":(\d+)(?: |$)", problem.where)
    return int(match[1]) if match else 0


def _read(file: Path) -> Document:
    """The file of a request. The error for a run or for data says what to give instead."""
    try:
        return read(file)
    except UsageError as error:
        runs = [each / "sweep.yaml" for each in (file, Path("runs", file))]
        if run := next((each for each in runs if each.is_file()), None):
            fix = f"It is a run. Give its request: {run}"
        elif file.suffix in (".yaml", ".yml"):
            raise
        else:
            fix = "Give a sweep.yaml here, and data with --data FILE."
        raise UsageError([replace(each, fix=fix) for each in error.problems]) from error


_P = ParamSpec("_P")
_R = TypeVar("_R")


def located(step: Callable[Concatenate[Spec, _P], _R]) -> Callable[Concatenate[Spec, _P], _R]:
    """The step. Its errors that name a key, flag or value of the spec also name file and line."""

    @wraps(step)
    def located_step(spec: Spec, /, *args: _P.args, **keywords: _P.kwargs) -> _R:
        try:
            return step(spec, *args, **keywords)
        except SweeperError as error:
            error.problems = tuple(_in_request(problem, spec) for problem in error.problems)
            error.args = ("\n".join(map(str, error.problems)),)
            raise

    return located_step


_IN_FILE = re.compile(r":\d+ ")


def _in_request(problem: Problem, spec: Spec) -> Problem:
    """The problem with file and line, and with what to do if a path is meant from that file."""
    where = _located(problem.where, spec)
    sibling = Path(where.partition(":")[0]).parent / problem.where
    fix = problem.fix
    with suppress(OSError):  # a name may be too long for a file
        if where != problem.where and not Path(problem.where).exists() and sibling.exists():
            fix = f"Paths are relative to the current folder: write {sibling}."
    return replace(problem, where=where, fix=fix)


def _located(where: str, spec: Spec) -> str:
    """Where a key or flag was given; ``FILE:LINE KEY: VALUE`` for a value of the file."""
    flags = {flag: path for path, flag in FLAGS.items()}
    path = flags.get(where) or tuple(where.split("."))
    if where in flags or path[0] in _SECTIONS:
        position = spec.places.where(path)
        return position if _IN_FILE.search(position) or position.startswith("-") else where
    for path, value in _leaves(spec.model_dump()):
        if where and where in (given := str(value), os.path.normpath(given)):
            position = spec.places.where(path)
            return f"{position}: {where}" if _IN_FILE.search(position) else where
    return where


def _leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    if not isinstance(value, dict | list | tuple):
        yield path, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(item, (*path, key))


class SetItem(NamedTuple):
    """A value given by ``--set``.

    Args:
        item: Text as it was typed: ``lora.r=16``.
    """

    item: str
    value: Any

    @property
    def flag(self) -> str:
        """The flag up to the value: ``--set lora.r``."""
        return f"--set {self.item.partition('=')[0].strip()}"


def settings(items: Sequence[str]) -> dict[Path_, SetItem]:
    """``PATH=VALUE`` items by the path of their key in ``sweep.yaml``.

    A path begins with a key of ``sweep.yaml``, or with the name of a strategy, whose parameters it
    sets; the name of a key that only one section has is enough. A value is YAML.

    Raises:
        SpecError: An item has no value, no such key, or a key that an earlier one has.
    """
    given: dict[Path_, SetItem] = {}
    problems: list[Problem] = []
    for item in items:
        name, equals, text = item.partition("=")
        name, flag = name.strip(), f"--set {name.strip()}"
        if not equals or not name or not text.strip():
            fix = "Write PATH=VALUE, for example --set lora.r=16."
            problems.append(Problem(f"{item!r} sets nothing", fix=fix, where="--set"))
            continue
        try:
            document, path = parse(text, flag), _path_of(name, flag)
        except UsageError as error:
            problems += error.problems
            continue
        problems += document.problems
        if path in given and given[path].value != document.data:
            problems.append(Problem("given twice", "Its values differ.", "", flag))
        given[path] = SetItem(item, document.data)
    if problems:
        raise SpecError(problems)
    return given


_SECTIONS = ("data", "hardware", "aim", "training", "search", "evaluation", "features")


def _path_of(name: str, flag: str) -> Path_:
    """The whole path of a key that is named in short.

    Raises:
        SpecError: There is no such key.
    """
    first, *rest = (int(part) if part.isdigit() else part for part in name.split("."))
    if first == "model":
        return ("models", 0, *(rest or ("id",)))
    if first == "data" and not rest:
        return ("data", "path")
    keys = [key for key in (*Spec.model_fields, "model") if key != "schema_version"]
    strategies = (*known_strategies(), EVERY_STRATEGY)
    sections: dict[str, Any] = {name: Spec.model_fields[name].annotation for name in _SECTIONS}
    inside = {key: name for name, kind in sections.items() for key in kind.model_fields}
    if first in keys:
        return (first, *rest)
    if rest and first in strategies:
        return ("parameters", first, *rest)
    if first in inside:
        return (inside[first], first, *rest)
    fix = near_match(str(first), [*keys, *(strategies if rest else inside)])
    raise SpecError(f"there is no key {str(first)!r}", "", fix, flag)


def laid_over(flags: Mapping[Path_, Any], settled: Mapping[Path_, SetItem]) -> dict[Path_, Any]:
    """The flags with what ``--set`` gives.

    Raises:
        SpecError: A key has one value by a flag and another by ``--set``.
    """
    for path, item in settled.items():
        if path in flags and flags[path] != item.value:
            what = f"{FLAGS[path]} says {flags[path]!r}"
            raise SpecError(what, "One of them would be ignored.", "", item.flag)
    return {**flags, **settled}


def to_yaml(spec: Spec) -> str:
    """The complete spec as ``sweep.yaml``, in the order of its fields.

    Features whose options all have their defaults are left out: a run does not need them.

    Paths are as the run's file gave them, and URLs have no password: a driver finds one in the
    environment or in a file of its own, such as ``PGPASSWORD`` and ``~/.pgpass``.
    """
    fields = parts.without_passwords(spec).model_dump(mode="json")
    used = {name for name, options in spec.features if options != type(options)()}
    fields["features"] = {n: options for n, options in fields["features"].items() if n in used}
    for path, value in _paths(fields):
        _put(fields, path, spec.places.typed(value))
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _spell_out(given: Mapping[str, Any], lines: dict[Path_, int]) -> dict[str, Any]:
    """The mappings that short forms stand for, such as ``model: X``; no empty sections."""
    data = {key: value for key, value in given.items() if value is not None}
    if "model" in data and "models" not in data:
        data["models"] = [data.pop("model")]
        lines[("models", 0)] = lines.get(("model",), 1)
    if isinstance(models := data.get("models"), str | list):
        models = [models] if isinstance(models, str) else models
        data["models"] = [{"id": model} if isinstance(model, str) else model for model in models]
    for key, inside in (("data", "path"), ("objective", "name")):
        if isinstance(data.get(key), str):
            data[key] = {inside: data[key]}
    return data


def _name_folder(data: dict[str, Any], file: Path | None) -> None:
    """The folder of the file that names a function."""
    given = data.get("objective")
    if isinstance(given, dict) and ":" in str(given.get("name", "")) and not given.get("folder"):
        given["folder"] = str((file.parent if file else Path()).resolve())


def _found_from_here(data: dict[str, Any], file: Path) -> dict[str, str]:
    """Lead the paths of a run's own file to what they named in the folder where the run began.

    That is the folder that ``runs/NAME`` is in. Returns the new paths with those of the file.
    """
    began = file.absolute().parents[2:3]
    if not began or began[0] == Path.cwd() or not (file.parent / "plan.json").is_file():
        return {}
    moved: dict[str, str] = {}
    for path, value in _paths(data):
        if (there := began[0] / value).exists():
            _put(data, path, str(there))
            moved[str(there)] = value
    return moved


_FILES = {
    *(("data", key) for key in ("path", "validation", "test")),
    *(("data", "sources", "path"), ("models", "id"), ("trials", "model"), ("rules",)),
}


def _paths(data: dict[str, Any]) -> list[tuple[Path_, str]]:
    """Every value that may be the path of a file or folder."""
    files = {path for path, flag in parts.flags().items() if flag.is_path or flag.commit_in}
    return [
        (path, value)
        for path, value in _leaves(data)
        if value and isinstance(value, str)
        if tuple(part for part in path if isinstance(part, str)) in _FILES | files
    ]


def _put(data: dict[str, Any], path: Path_, value: Any) -> None:
    target: Any = data
    for part, following in pairwise(path):
        if isinstance(part, int):
            while len(target) <= part:
                target.append({})
            if not isinstance(target[part], dict):
                target[part] = {}
            target = target[part]
            continue
        if not isinstance(target.get(part), list if isinstance(following, int) else dict):
            target[part] = [] if isinstance(following, int) else {}
        target = target[part]
    last = path[-1]
    if path == ("data", "columns") and isinstance(target.get(last), dict):
        value = {**target[last], **value}
    target[last] = value


def _where(loc: Path_, document: Document, flags: Mapping[Path_, Any]) -> str:
    for end in range(len(loc), 0, -1):
        if loc[:end] in flags:
            given = flags[loc[:end]]
            if isinstance(given, SetItem):
                return ".".join(map(str, (given.flag, *loc[end:])))
            return FLAGS.get(loc[:end], ".".join(map(str, loc[:end])))
    return document.where(loc)
