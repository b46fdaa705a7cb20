"""Checks what a YAML file holds against a pydantic model: every problem with its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from sweeper.errors import Problem, near_match
from sweeper.yamlfile import Document, Path_

Checked = TypeVar("Checked")


class FileModel(BaseModel):
    """A mapping in a YAML file: unknown keys are refused, and no value is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Located(Protocol):
    """Gives the file and line of each value, as a ``Document`` does."""

    def where(self, path: Path_) -> str:
        """``file:line key``."""


def fault(what: str, why: str = "", fix: str = "") -> PydanticCustomError:
    """What a validator raises: what is wrong, why, and what to do."""
    return PydanticCustomError("fault", "{what}", {"what": what, "why": why, "fix": fix})


def faults(found: Sequence[tuple[Path_, PydanticCustomError]]) -> None:
    """Raise several faults at once, each with its path below what is validated; none: do nothing.

    Raises:
        ValidationError: With all of them.
    """
    if found:
        lines = [InitErrorDetails(type=error, loc=path, input=None) for path, error in found]
        raise ValidationError.from_exception_data("faults", lines)


def checked(
    kind: TypeAdapter[Checked],
    document: Document,
    path: Path_,
    problems: list[Problem],
    context: object = None,
) -> Checked | None:
    """The value at one path of a document as ``kind``; None where it holds a problem.

    Args:
        problems: Every problem is appended here, with file, line and nearest known key.
    """
    data = document.data
    for part in path:
        data = data[part]
    try:
        return kind.validate_python(data, context=context)
    except ValidationError as error:
        found = (
            problem_of(item, data, kind, document, path) for item in error.errors(include_url=False)
        )
        problems += dict.fromkeys(found)  # a union reports some twice
        return None


def problem_of(
    item: ErrorDetails, data: object, kind: TypeAdapter[Any], places: Located, base: Path_ = ()
) -> Problem:
    """One error of pydantic as a problem.

    Args:
        places: The lines of values.
        base: The path of ``data`` in it.
    """
    loc, context = item["loc"], item.get("ctx", {})
    path = _path(data, loc, extra=item["type"] in ("missing", "extra_forbidden"))
    where = places.where((*base, *path))
    key = next((part for part in reversed((*base, *path)) if isinstance(part, str)), "the item")
    shown = f"{key} = {_short(item['input'])}"
    match item["type"]:
        case "fault":
            return Problem(context["what"], context["why"], context["fix"], where)
        case "missing":
            return Problem(f"{key} is missing", where=where)
        case "union_tag_not_found":
            name = context["discriminator"].strip("'")
            return Problem(f"{name} is missing", where=where)
        case "extra_forbidden":
            known = [*_fields(kind, loc[:-1])]
            return Problem(f"there is no key {key!r} here", "", near_match(key, known), where)
        case "union_tag_invalid":
            name, tag = context["discriminator"].strip("'"), context["tag"]
            known = _quoted(context["expected_tags"])
            where = places.where((*base, *path, name))
            return Problem(f"{name} = {tag!r} is not known", "", near_match(tag, known), where)
        case "literal_error":
            known = _quoted(context["expected"])
            is_key = loc[-1] == "[key]"
            what = f"there is no key {key!r} here" if is_key else f"{shown} is not known"
            return Problem(what, "", near_match(str(item["input"]), known), where)
        case "model_type":
            return Problem(f"{shown} is not a mapping", "", _example(kind, loc), where)
    return Problem(shown, f"{item['msg']}.", _example(kind, loc), where)


def _path(data: Any, loc: Path_, *, extra: bool) -> Path_:
    """The location without what only pydantic sees: tags of unions, marks of keys.

    Args:
        loc: Where in it, as pydantic says.
        extra: Whether the last part is kept, though there is no such value.
    """
    path: list[str | int] = []
    for place, part in enumerate(loc):
        inside = part in data if isinstance(data, Mapping) else False
        inside |= isinstance(data, list) and isinstance(part, int) and part < len(data)
        if inside or (extra and place == len(loc) - 1):
            path.append(part)
            data = data[part] if inside else None
    return tuple(path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def _fields(kind: TypeAdapter[Any], loc: Path_) -> dict[str, Any]:
    """The fields that a mapping at this place may have, by the name in the file."""
    return {
        field.alias or name: field
        for model in _models_at(kind, loc)
        for name, field in model.model_fields.items()
        if not str(field.alias).startswith("*")
    }


def _example(kind: TypeAdapter[Any], loc: Path_) -> str:
    """How the value at this place may be written, or what it is, where its field says so."""
    for end in range(len(loc), 0, -1):
        field = _fields(kind, loc[: end - 1]).get(str(loc[end - 1]))
        if field is not None:
            what = f"{loc[end - 1]}: {field.description}." if field.description else ""
            return f"Write it as {field.examples[0]}." if field.examples else what
    return ""


def _models_at(kind: TypeAdapter[Any], loc: Path_) -> list[type[BaseModel]]:
    models = [*_models(kind._type)]
    for part in loc:
        fields = {f.alias or n: f for m in models for n, f in m.model_fields.items()}
        if part in fields:
            models = [*_models(fields[str(part)].annotation, *fields[str(part)].metadata)]
        else:
            tagged = [
                model
                for model in models
                if any(part in get_args(field.annotation) for field in model.model_fields.values())
            ]
            models = tagged or models
    return models


def _models(*kinds: Any) -> Iterator[type[BaseModel]]:
    """Every model that a type, or the metadata of a field, is made of."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
        yield from _models(*get_args(kind))
        if hasattr(kind, "json_schema_input_type"):
            yield from _models(kind.json_schema_input_type)
