"""Makes a ``Spec`` from ``sweep.yaml`` and flags, and reports all problems at once.

A problem has file, line and key (or the flag), the violated bound, and the nearest valid name.
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
from sweeper.yamlfile import Document, KeyPath, parse, problem_of, read


class FlaggedKey(NamedTuple):
    """A key of the spec with its flag."""

    flag: parts.Flag
    field: FieldInfo


def _flagged_keys(kind: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, FlaggedKey]]:
    """The keys of a model and its sections that have a flag; of a list, those of its first item."""
    for key, field in kind.model_fields.items():
        for flag in field.metadata:
            if isinstance(flag, parts.Flag) and flag.name:
                yield (*path, key), FlaggedKey(flag, field)
        is_list = get_origin(field.annotation) is tuple
        inner_kind = get_args(field.annotation)[0] if is_list else field.annotation
        if isinstance(inner_kind, type) and issubclass(inner_kind, BaseModel):
            yield from _flagged_keys(inner_kind, (*path, key, *((0,) if is_list else ())))


FLAGGED: dict[KeyPath, FlaggedKey] = dict(_flagged_keys(Spec))
# The flag of each key that has one.
FLAGS: dict[KeyPath, str] = {path: key.flag.name for path, key in FLAGGED.items()}


def resolve(
    flags: Mapping[KeyPath, Any],
    file: Path | Mapping[str, Any] | None = None,
    *,
    needs_model: bool = True,
) -> Spec:
    """Read the file, override its values by the flags, and validate the result.

    Args:
        flags: Values of flags by the path of their key in the spec; they take precedence.
        file: A ``sweep.yaml``, or its keys and values, which are modified.
        needs_model: Whether a missing model is an error.

    Raises:
        OtherVersion: Another version of sweeper wrote the file.
        SpecError: File or flags are wrong; has all problems.
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
    data = _expand(data, document.lines)
    relative_paths = _make_paths_absolute(data, file) if isinstance(file, Path) else {}
    for path, value in flags.items():
        _put_value(data, path, value.value if isinstance(value, SetItem) else value)
    _add_function_folder(data, file if isinstance(file, Path) else None)
    for key, flag in (("task", "--task"), *([("models", "--model")] if needs_model else [])):
        if not data.get(key):
            fix = f"Add it to the file, or give {flag}: {Spec.model_fields[key].description}."
            where = flag if file is None else document.name
            problems.append(Problem(f"no {key.removesuffix('s')} is given", "", fix, where))
    places = Places(lambda path: _where(path, document, flags), relative_paths)
    spec: Spec | None = None
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        problems += [
            problem_of(item, data, TypeAdapter(Spec), places.where)
            for item in error.errors()
            if (item["type"], item["loc"]) != ("missing", ("task",))
        ]
    if problems or spec is None:
        raise SpecError(sorted(dict.fromkeys(problems), key=_line_of))
    return spec.with_places(places)


def _line_of(problem: Problem) -> int:
    match = re.search(r":(\d+)(?: |$)", problem.where)
    return int(match[1]) if match else 0


def _read(file: Path) -> Document:
    """Read ``sweep.yaml``. If the file is a run or data, the error says what to give instead."""
    try:
        return read(file)
    except UsageError as error:
        runs = [path / "sweep.yaml" for path in (file, Path("runs", file))]
        if run := next((path for path in runs if path.is_file()), None):
            fix = f"This is a run. Give its sweep.yaml: {run}"
        elif file.suffix in (".yaml", ".yml"):
            raise
        else:
            fix = "Give a sweep.yaml here, and data with --data FILE."
        raise UsageError([replace(problem, fix=fix) for problem in error.problems]) from error


_P = ParamSpec("_P")
_R = TypeVar("_R")


def with_positions(
    step: Callable[Concatenate[Spec, _P], _R],
) -> Callable[Concatenate[Spec, _P], _R]:
    """A decorator: errors that name a key, flag or value of the spec get file and line."""

    @wraps(step)
    def located_step(spec: Spec, /, *args: _P.args, **keywords: _P.kwargs) -> _R:
        try:
            return step(spec, *args, **keywords)
        except SweeperError as error:
            error.problems = tuple(_with_position(problem, spec) for problem in error.problems)
            error.args = ("\n".join(map(str, error.problems)),)
            raise

    return located_step


_FILE_AND_LINE = re.compile(r":\d+ ")


def _with_position(problem: Problem, spec: Spec) -> Problem:
    """The problem with file and line, and a fix if a path is relative to the file."""
    where = _position_of(problem.where, spec)
    sibling = Path(where.partition(":")[0]).parent / problem.where
    fix = problem.fix
    with suppress(OSError):  # a name may be too long for a file
        if where != problem.where and not Path(problem.where).exists() and sibling.exists():
            fix = f"Paths are relative to the current folder: write {sibling}."
    return replace(problem, where=where, fix=fix)


def _position_of(where: str, spec: Spec) -> str:
    """The source of a key, flag or value; ``where`` itself if there is none with a line.

    Args:
        where: A key, a flag, or a value of the spec such as a path; a value is added to its source.
    """
    flags = {flag: path for path, flag in FLAGS.items()}
    path = flags.get(where) or tuple(where.split("."))
    if where in flags or path[0] in _SECTIONS:
        position = spec.places.where(path)
        known = _FILE_AND_LINE.search(position) or position.startswith("-")  # or a flag
        return position if known else where
    for path, value in _leaves(spec.model_dump()):
        if where and where in (text := str(value), os.path.normpath(text)):
            position = spec.places.where(path)
            return f"{position}: {where}" if _FILE_AND_LINE.search(position) else where
    return where


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The single values in nested mappings and lists, with their paths."""
    if not isinstance(value, dict | list | tuple):
        yield path, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(item, (*path, key))


class SetItem(NamedTuple):
    """A value given by ``--set``.

    Args:
        item: The argument of ``--set``, such as ``lora.r=16``.
    """

    item: str
    value: Any

    @property
    def flag(self) -> str:
        """The flag without its value, such as ``--set lora.r``."""
        return f"--set {self.item.partition('=')[0].strip()}"


def settings(items: Sequence[str]) -> dict[KeyPath, SetItem]:
    """The values of ``PATH=VALUE`` items, by the path of their key in ``sweep.yaml``.

    A path begins with a key of ``sweep.yaml``, or with a strategy to set its parameters. The
    section of a key may be left out. A value is YAML.

    Raises:
        SpecError: An item has no value, an unknown key, or another value than an earlier item.
    """
    items_by_path: dict[KeyPath, SetItem] = {}
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
        if path in items_by_path and items_by_path[path].value != document.data:
            problems.append(Problem("given twice", "Its values differ.", "", flag))
        items_by_path[path] = SetItem(item, document.data)
    if problems:
        raise SpecError(problems)
    return items_by_path


# The sections of ``sweep.yaml``. A path given to ``--set`` may begin with a key of one of them.
_SECTIONS = ("data", "hardware", "aim", "training", "search", "evaluation", "features")


def _path_of(name: str, flag: str) -> KeyPath:
    """The path of a key that may be named without its section.

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
    fields: dict[str, Any] = Spec.model_fields
    section_of = {key: name for name in _SECTIONS for key in fields[name].annotation.model_fields}
    if first in keys:
        return (first, *rest)
    if rest and first in strategies:
        return ("parameters", first, *rest)
    if first in section_of:
        return (section_of[first], first, *rest)
    fix = near_match(str(first), [*keys, *(strategies if rest else section_of)])
    raise SpecError(f"there is no key {str(first)!r}", "", fix, flag)


def with_set_items(
    flags: Mapping[KeyPath, Any], set_items: Mapping[KeyPath, SetItem]
) -> dict[KeyPath, Any]:
    """The flags together with the items of ``--set``.

    Raises:
        SpecError: A flag and ``--set`` give different values for a key.
    """
    for path, item in set_items.items():
        if path in flags and flags[path] != item.value:
            what = f"{FLAGS[path]} has another value, {flags[path]!r}"
            raise SpecError(what, "One of them would be ignored.", "", item.flag)
    return {**flags, **set_items}


def to_yaml(spec: Spec) -> str:
    """The complete spec as ``sweep.yaml``, in the order of its fields.

    Features with only default options are left out. Paths are as the user wrote them. URLs have no
    passwords: drivers find them elsewhere, such as in ``PGPASSWORD`` or ``~/.pgpass``.
    """
    fields = parts.without_passwords(spec).model_dump(mode="json")
    used_features = {name for name, options in spec.features if options != type(options)()}
    fields["features"] = {
        name: options for name, options in fields["features"].items() if name in used_features
    }
    for path, value in _path_values(fields):
        _put_value(fields, path, spec.places.typed(value))
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _expand(keys: Mapping[str, Any], lines: dict[KeyPath, int]) -> dict[str, Any]:
    """Expand short forms, such as ``model: X``, and remove empty sections."""
    data = {key: value for key, value in keys.items() if value is not None}
    if "model" in data and "models" not in data:
        data["models"] = [data.pop("model")]
        lines[("models", 0)] = lines.get(("model",), 1)
    if isinstance(models := data.get("models"), str | list):
        models = [models] if isinstance(models, str) else models
        data["models"] = [{"id": model} if isinstance(model, str) else model for model in models]
    for key, inner_key in (("data", "path"), ("objective", "name")):
        if isinstance(data.get(key), str):
            data[key] = {inner_key: data[key]}
    return data


def _add_function_folder(data: dict[str, Any], file: Path | None) -> None:
    """If the objective is a function, look for its module in the folder of ``sweep.yaml``, too."""
    objective = data.get("objective")
    if (
        isinstance(objective, dict)
        and ":" in str(objective.get("name", ""))
        and not objective.get("folder")
    ):
        objective["folder"] = str((file.parent if file else Path()).resolve())


def _make_paths_absolute(data: dict[str, Any], file: Path) -> dict[str, str]:
    """Make relative paths in a run's own ``sweep.yaml`` absolute, if it is read from elsewhere.

    They are relative to the folder that contains ``runs/NAME``. Returns old paths by new ones.
    """
    parents = file.absolute().parents  # NAME, runs, and the folder that the paths start from
    if len(parents) < 3 or parents[2] == Path.cwd() or not (file.parent / "plan.json").is_file():
        return {}
    old_paths: dict[str, str] = {}
    for path, value in _path_values(data):
        if (absolute_path := parents[2] / value).exists():
            _put_value(data, path, str(absolute_path))
            old_paths[str(absolute_path)] = value
    return old_paths


# Keys, without the indices of lists, whose value may name a file or folder.
_PATH_KEYS = {
    *(("data", key) for key in ("path", "validation", "test")),
    *(("data", "sources", "path"), ("models", "id"), ("trials", "model"), ("rules",)),
}


def _path_values(data: dict[str, Any]) -> list[tuple[KeyPath, str]]:
    """The key path and value of each text that may name a file or folder."""
    feature_keys = {path for path, flag in parts.flags().items() if flag.is_path or flag.commit_in}
    return [
        (path, value)
        for path, value in _leaves(data)
        if value and isinstance(value, str)
        if tuple(part for part in path if isinstance(part, str)) in _PATH_KEYS | feature_keys
    ]


def _put_value(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set the value at a path, and make the mappings and lists on the way to it.

    Columns are added to those that are there.
    """
    target: Any = data
    for part, next_part in pairwise(path):
        kind = list if isinstance(next_part, int) else dict
        if isinstance(part, int):
            target += [{} for _ in range(len(target), part + 1)]
        if (isinstance(part, str) and part not in target) or not isinstance(target[part], kind):
            target[part] = kind()
        target = target[part]
    last = path[-1]
    if path == ("data", "columns") and isinstance(target.get(last), dict):
        value = {**target[last], **value}
    target[last] = value


def _where(loc: KeyPath, document: Document, flags: Mapping[KeyPath, Any]) -> str:
    """The flag, or file, line and key, that a value at this path comes from."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in flags:
            item = flags[loc[:end]]
            if isinstance(item, SetItem):
                return ".".join(map(str, (item.flag, *loc[end:])))
            return FLAGS.get(loc[:end], ".".join(map(str, loc[:end])))
    return document.where(loc)
