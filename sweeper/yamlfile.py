"""Reads YAML together with the line of every value, and checks it against pydantic models.

Only plain data is read: tags that would run code are reported as problems. ``2e-5`` is a float,
although YAML 1.1 reads it as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from sweeper.errors import Problem, UsageError, near_match
from sweeper.textfiles import read_text

KeyPath = tuple[str | int, ...]
"""The keys and list indices that lead to a value of a document, such as ``("data", "path")``."""
WhereIs = Callable[[KeyPath], str]
"""Maps the path of a value to ``file:line key``."""

_Base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """The C loader (eight times faster than the Python one), with floats such as ``2e-5``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


_TEXT = "tag:yaml.org,2002:str"

MAX_LEVELS = 50
"""Largest depth of nesting; files of this project have at most eight levels."""

MAX_NUMBER = 1e18
"""Largest number. Any count or size is smaller, and products of several numbers stay finite."""

MAX_VALUES = 100_000
"""Largest number of values; files of this project have at most 8,000."""


@dataclass
class Document:
    """One YAML file as plain data, with the line of every key and list item.

    Args:
        name: The file's name for messages.
        lines: The path of a value to its 1-based line.
        problems: Duplicate keys and refused tags.
        included: For each value that comes from another file, that file and the value's path there.
        values: Number of values; each use of an alias counts.
    """

    name: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    included: dict[KeyPath, tuple[Document, KeyPath]] = field(default_factory=dict)
    values: int = 0

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix."""
        return Path(self.name).stem

    def where(self, path: KeyPath) -> str:
        """``file:line key`` of a value, or of the nearest enclosing value with a line.

        If the file is a list, the index of the item is left out, as the line is enough.
        """
        inner_path = path[1:] if path and isinstance(path[0], int) else path
        key = ".".join(str(part) for part in inner_path)
        for end in range(len(path), -1, -1):
            if position := self._line_of(path[:end]):
                return f"{position} {key}".rstrip()
        return f"{self.name} {key}".rstrip()

    def _line_of(self, path: KeyPath) -> str:
        """``file:line`` of exactly this value, here or in an included file; else empty."""
        if path in self.lines:
            return f"{self.name}:{self.lines[path]}"
        for end in range(len(path), 0, -1):
            if path[:end] in self.included:
                document, base = self.included[path[:end]]
                return document._line_of((*base, *path[end:]))
        return ""


def read(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        UsageError: The file cannot be read, or is not YAML; the error has file and line.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise UsageError("this is not a UTF-8 text file", where=str(path)) from error
    except OSError as error:
        fix = "Check the path, relative to the current folder." if not path.exists() else ""
        what = f"cannot read this file ({error.strerror})"
        raise UsageError(what, fix=fix, where=str(path)) from error
    return parse(text, str(path))


def read_all(
    paths: Iterable[Path], problems: list[Problem], reader: Callable[[Path], Document] = read
) -> Iterator[Document]:
    """Read several YAML files, without those that cannot be read.

    Args:
        problems: List to append the problems of all files to.
        reader: Reads one file.
    """
    for path in paths:
        try:
            document = reader(path)
        except UsageError as error:
            problems += error.problems
            continue
        problems += document.problems
        yield document


def parse(text: str, name: str) -> Document:
    """Read YAML from text; ``name`` is its name in messages.

    Raises:
        UsageError: The text is not YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = Document(name, None)
        if node is not None:
            document.data = _build(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(
            f"this is not YAML: {error.problem or error.context}",
            fix="Check indentation, quotes and colons on this line and the one above.",
            where=f"{name}{line}",
            code="no-yaml",
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # such as an invalid date as a key
        raise UsageError(f"this is not YAML: {error}", where=name) from error
    finally:
        loader.dispose()
    return document


def _refusal(node: yaml.Node, document: Document, what: str, why: str, fix: str) -> UsageError:
    return UsageError(what, why, fix, f"{document.name}:{node.start_mark.line + 1}")


def _build(loader: Any, node: yaml.Node, path: KeyPath, document: Document) -> Any:
    document.values += 1
    # An alias is the node itself: nested aliases multiply, and an alias to itself never ends.
    # libyaml refuses more than 1,000 levels.
    if len(path) > MAX_LEVELS or document.values > MAX_VALUES:
        what = f"more than {MAX_LEVELS} levels or {MAX_VALUES:,} values, aliases included"
        why = "Files for sweeper are a few levels deep, and aliases are used for short values."
        raise _refusal(node, document, what, why, "Write the values out.")
    document.lines.setdefault(path, node.start_mark.line + 1)
    if not str(node.tag).startswith("tag:yaml.org,2002:") or "python/" in node.tag:
        document.problems.append(
            Problem(
                f"the tag {node.tag!r} is not allowed",
                "Files for sweeper hold plain data and never run code.",
                "Remove the tag.",
                document.where(path),
            )
        )
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, child, (*path, index), document)
            for index, child in enumerate(node.value)
        ]
    if node.tag == _TEXT:
        if "\0" in node.value:
            what, fix = "a text contains the character NUL", "Remove it."
            raise _refusal(node, document, what, "No file name or program can have it.", fix)
        return node.value
    try:
        value = loader.construct_object(node, deep=True)
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise ValueError(f"{node.value:.40} is not a number up to {MAX_NUMBER:g}")
        return value
    except ValueError as error:
        document.problems.append(Problem(str(error), where=document.where(path)))
        return None


def _mapping(loader: Any, node: yaml.MappingNode, path: KeyPath, document: Document) -> Any:
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            why, fix = "This one is a list or a mapping.", "Write a name before the colon."
            raise _refusal(key_node, document, "a key must be a single value", why, fix)
        key = key_node.value
        if key_node.tag != _TEXT:
            key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            key = str(key)
        child = (*path, key if isinstance(key, int) and not isinstance(key, bool) else str(key))
        if key in result:
            document.problems.append(
                Problem(
                    f"duplicate key {key!r}",
                    fix=f"Remove one; the first is on line {document.lines[child]}.",
                    where=f"{document.name}:{key_node.start_mark.line + 1} {key}",
                )
            )
            continue
        document.lines[child] = key_node.start_mark.line + 1
        result[key] = _build(loader, value_node, child, document)
    return result


Checked = TypeVar("Checked")


class FileModel(BaseModel):
    """A mapping in a YAML file: unknown keys are refused, values are not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


def fault(what: str, why: str = "", fix: str = "") -> PydanticCustomError:
    """An error for validators: what is wrong, why, and what to do."""
    return PydanticCustomError("fault", "{what}", {"what": what, "why": why, "fix": fix})


def raise_faults(problems: Sequence[tuple[KeyPath, PydanticCustomError]]) -> None:
    """Raise all faults together, if there are any. Paths are relative to the validated value.

    Raises:
        ValidationError: Has all faults.
    """
    if problems:
        lines = [InitErrorDetails(type=error, loc=path, input=None) for path, error in problems]
        raise ValidationError.from_exception_data("faults", lines)


def checked(
    kind: TypeAdapter[Checked],
    document: Document,
    path: KeyPath,
    problems: list[Problem],
    context: object = None,
) -> Checked | None:
    """The value at a path of a document as ``kind``; None if it is invalid.

    Args:
        problems: List to append all problems to, with file, line and nearest known key.
    """
    data = document.data
    for part in path:
        data = data[part]
    try:
        return kind.validate_python(data, context=context)
    except ValidationError as error:
        described_problems = (
            problem_of(item, data, kind, document.where, path) for item in error.errors()
        )
        problems += dict.fromkeys(described_problems)  # a union reports some problems twice
        return None


def problem_of(
    item: ErrorDetails, data: object, kind: TypeAdapter[Any], where_is: WhereIs, base: KeyPath = ()
) -> Problem:
    """An error of pydantic as a problem.

    Args:
        item: The error.
        data: The validated value.
        where_is: Function from the path of a value to ``file:line key``.
        base: The path of ``data`` in the document.
    """
    loc, context = item["loc"], item.get("ctx", {})
    path = _existing_path(data, loc, extra=item["type"] in ("missing", "extra_forbidden"))
    where = where_is((*base, *path))
    key = next((part for part in reversed((*base, *path)) if isinstance(part, str)), "the item")
    assignment = f"{key} = {_shortened(item['input'])}"
    match item["type"]:
        case "fault":
            return Problem(context["what"], context["why"], context["fix"], where)
        case "missing":
            return Problem(f"{key} is missing", where=where)
        case "extra_forbidden":
            candidates = [*_fields_at(kind, loc[:-1])]
            return Problem(f"there is no key {key!r} here", "", near_match(key, candidates), where)
        case "literal_error":
            candidates = _quoted_values(context["expected"])
            is_key = loc[-1] == "[key]"
            what = f"there is no key {key!r} here" if is_key else f"{assignment} is not known"
            return Problem(what, "", near_match(str(item["input"]), candidates), where)
        case "model_type":
            return Problem(f"{assignment} is not a mapping", "", _example_at(kind, loc), where)
    return Problem(assignment, f"{item['msg']}.", _example_at(kind, loc), where)


def _existing_path(data: Any, loc: KeyPath, *, extra: bool) -> KeyPath:
    """The path of a value without parts that only pydantic adds: tags of unions, and ``[key]``.

    Args:
        loc: Pydantic's location of the error.
        extra: Whether the last part is kept even if there is no such value.
    """
    path: list[str | int] = []
    for number, part in enumerate(loc):
        exists = part in data if isinstance(data, Mapping) else False
        exists |= isinstance(data, list) and isinstance(part, int) and part < len(data)
        if exists or (extra and number == len(loc) - 1):
            path.append(part)
            data = data[part] if exists else None
    return tuple(path)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted_values(expected: str) -> list[str]:
    """The values that pydantic's text lists, such as ``'a', 'b' or 'c'``."""
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def _fields_at(kind: TypeAdapter[Any], loc: KeyPath) -> dict[str, Any]:
    """The fields of a mapping at this location, by their names in the file.

    A field whose alias begins with ``*`` is not read from the file, and is left out.
    """
    return {
        field.alias or name: field
        for model in _models_at(kind, loc)
        for name, field in model.model_fields.items()
        if not str(field.alias).startswith("*")
    }


def _example_at(kind: TypeAdapter[Any], loc: KeyPath) -> str:
    """An example or the description of the field at this location; may be empty."""
    for end in range(len(loc), 0, -1):
        field = _fields_at(kind, loc[: end - 1]).get(str(loc[end - 1]))
        if field is not None:
            what = f"{loc[end - 1]}: {field.description}." if field.description else ""
            return f"Write it as {field.examples[0]}." if field.examples else what
    return ""


def _models_at(kind: TypeAdapter[Any], loc: KeyPath) -> list[type[BaseModel]]:
    """The models that the value at this location may be.

    A part of the location is a field, or a tag that selects models of a union.
    """
    models = [*_models(kind._type)]
    for part in loc:
        fields = {f.alias or n: f for m in models for n, f in m.model_fields.items()}
        if part in fields:
            models = [*_models(fields[str(part)].annotation, *fields[str(part)].metadata)]
        else:
            tagged_models = [
                model
                for model in models
                if any(part in get_args(field.annotation) for field in model.model_fields.values())
            ]
            models = tagged_models or models
    return models


def _models(*kinds: Any) -> Iterator[type[BaseModel]]:
    """All models in a type or in the metadata of a field."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
        yield from _models(*get_args(kind))
        if hasattr(kind, "json_schema_input_type"):
            yield from _models(kind.json_schema_input_type)
