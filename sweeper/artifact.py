"""The base classes of artifacts: frozen fields, a schema version, JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError

from sweeper.errors import OtherVersion, UsageError
from sweeper.safe_text import cleaner
from sweeper.textfiles import json_value, read_text, write_text

# The schema version of all artifacts, incremented when a field changes its meaning.
VERSION = 1


def _not_bool(value: object) -> object:
    if isinstance(value, bool):  # pydantic reads it as 1; YAML's yes and on are True
        raise PydanticKnownError("int_type")
    return value


# Upper bound of numbers in a spec, so that sums and products stay finite.
MAX_NUMBER = 10**9
PositiveInt = Annotated[int, Field(ge=1, le=MAX_NUMBER), BeforeValidator(_not_bool)]
Amount = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]
PositiveAmount = Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(_not_bool)]


class Record(BaseModel):
    """A frozen group of fields inside an artifact. Unknown fields are refused.

    Modules with many records do not use ``from __future__ import annotations``, since pydantic
    would have to compile the text of each annotation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True
    )

    @classmethod
    def taken_from(cls, source: object, **fields: Any) -> Self:
        """A record with these fields; other fields get the source's attributes of the same name."""
        missing = cls.model_fields.keys() - fields.keys()
        source_fields = {name: getattr(source, name) for name in missing if hasattr(source, name)}
        return cls(**source_fields, **fields)

    def cleaned(self) -> Self:
        """The record without secrets and private names in its texts, at any depth.

        Names of fields and keys stay.
        """
        result: Self = _cleaned(self, cleaner())
        return result


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    """The value with all its texts cleaned; the same object if nothing changed."""
    if isinstance(value, str):
        text = clean(value)
        return value if text == value else text  # a value of a subclass of str stays one
    if isinstance(value, BaseModel):
        values = {name: getattr(value, name) for name in type(value).model_fields}
        changes = {
            name: new for name, old in values.items() if (new := _cleaned(old, clean)) is not old
        }
        return value.model_copy(update=changes) if changes else value
    if isinstance(value, tuple | list):
        items = type(value)(_cleaned(item, clean) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        fields = {key: _cleaned(item, clean) for key, item in value.items()}
        return value if all(fields[key] is value[key] for key in value) else fields
    return value


class Artifact(Record):
    """A record that is stored as a file, with the version of its schema.

    A file of another version, older or newer, is refused.
    """

    schema_version: int = VERSION

    @classmethod
    def from_json(cls, text: str, where: str = "") -> Self:
        """Read an artifact from JSON.

        Args:
            where: The artifact's file, for error messages.

        Raises:
            OtherVersion: Another version of sweeper wrote it.
            UsageError: The text is not JSON, or a field is invalid.
        """
        name = cls.__name__
        try:
            fields = json_value(text, bounded=True)
        except ValueError as error:
            raise _damaged_file_error(f"this is not a {name} in JSON ({error})", where) from error
        if not isinstance(fields, dict):
            raise UsageError(f"this is not a {name}: it is not a JSON object", where=where)
        require_version(name, fields, where)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            errors = sorted(error.errors(), key=lambda detail: detail["type"] not in _FIELD_ERRORS)
            key = ".".join(str(part) for part in errors[0]["loc"])
            what = f"{name} is not valid: {key}: {errors[0]['msg']}"
            if errors[0]["type"] in _FIELD_ERRORS:
                raise _other_version(what, where) from error
            raise _damaged_file_error(what, where) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an artifact from its file.

        Raises:
            UsageError: The file is missing or damaged, or has another version.
        """
        try:
            text = read_text(path)
        except OSError as error:
            raise UsageError(
                f"cannot read {path.name}: {error.strerror or error}",
                fix="Is this a run folder of sweeper?",
                where=str(path),
            ) from error
        except UnicodeDecodeError as error:
            what = f"this is not a {cls.__name__} in JSON ({error})"
            raise _damaged_file_error(what, str(path)) from error
        return cls.from_json(text, where=str(path))

    @classmethod
    def read_or_none(cls, path: Path) -> Self | None:
        """The artifact in a file, or None if the file is missing or damaged."""
        try:
            return cls.read(path)
        except UsageError:
            return None

    def to_json(self) -> str:
        """Indented JSON with fields in their declared order."""
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: Path, *, synced: bool = True) -> None:
        """Write the artifact atomically.

        Args:
            synced: See ``write_text``.
        """
        write_text(path, self.to_json(), synced=synced)


def now() -> str:
    """The time in UTC as ISO 8601 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def require_version(name: str, fields: dict[str, Any], where: str) -> None:
    """Check the schema version in an artifact's fields; a missing one is accepted.

    Raises:
        OtherVersion: This sweeper reads another version.
    """
    if (version := fields.get("schema_version", VERSION)) != VERSION:
        what = f"{name} has schema version {version!r}, and this sweeper reads version {VERSION}"
        raise _other_version(what, where)


# Errors that show another version: damage changes values, but does not add or remove fields.
_FIELD_ERRORS = ("extra_forbidden", "missing")


def _other_version(what: str, where: str) -> OtherVersion:
    fix = "Start a new run (--new), or use the version of sweeper that wrote it."
    return OtherVersion(what, why="Another version of sweeper wrote it.", fix=fix, where=where)


def _damaged_file_error(what: str, where: str) -> UsageError:
    fix = "The file was edited or damaged; run the stage that writes it again."
    return UsageError(what, fix=fix, where=where)
