"""The base classes of artifacts: frozen fields, a schema version, JSON, atomic writes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError

from sweeper.errors import OtherVersion, UsageError
from sweeper.jsontext import value_of
from sweeper.textfile import read_text

# The schema version of all artifacts; raised when a field changes its meaning.
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

    Modules with many records do not use ``from __future__ import annotations``: pydantic would
    compile the text of each annotation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True
    )

    @classmethod
    def taken_from(cls, source: object, **fields: Any) -> Self:
        """A record with these fields; other fields get the source's attributes of the same name."""
        others = cls.model_fields.keys() - fields.keys()
        source_fields = {name: getattr(source, name) for name in others if hasattr(source, name)}
        return cls(**source_fields, **fields)


class Artifact(Record):
    """A record that is stored as a file, with the version of its schema.

    A file of another version, older or newer, is refused.
    """

    schema_version: int = VERSION

    @classmethod
    def from_json(cls, text: str, where: str = "") -> Self:
        """Read an artifact from JSON.

        Args:
            where: Its file, for error messages.

        Raises:
            OtherVersion: Another version of sweeper wrote it.
            UsageError: The text is not JSON, or a field is invalid.
        """
        name = cls.__name__
        try:
            fields = value_of(text, bounded=True)
        except ValueError as error:
            raise _damaged_file_error(f"this is not a {name} in JSON ({error})", where) from error
        if not isinstance(fields, dict):
            raise UsageError(f"this is not a {name}: no schema_version", where=where)
        require_version(name, fields, where)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            errors = sorted(error.errors(), key=lambda detail: detail["type"] not in _FIELD_ERRORS)
            key = ".".join(str(part) for part in errors[0]["loc"])
            what = f"{name} does not hold what it should: {key}: {errors[0]['msg']}"
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


def write_text(path: Path, text: str, *, synced: bool = True) -> None:
    """Replace a file's text atomically.

    Args:
        synced: Whether to sync the text to the disk before the old one is replaced, which takes
            milliseconds. If False, a power cut may leave an empty file; use it for files that can
            be made again.

    Raises:
        OSError: The folder is not writable or the disk is full; the old file stays complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(text)
        if synced and part != path:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path for a file or folder that replaces ``path`` when the block ends.

    If the block fails, the temporary path is removed and ``path`` is unchanged. If ``path`` is a
    pipe or a device, it is written to directly, since replacing would delete it.

    Raises:
        OSError: The disk is full or the folder cannot be written; the error has the file name.
    """
    is_device = path.exists() and not (path.is_file() or path.is_dir())
    part = path if is_device else path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        yield part
        if not is_device:
            part.replace(path)
    except BaseException as error:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif not is_device:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            filename = str(error.filename2 or error.filename or path)
            error.filename, error.filename2 = filename.replace(str(part), str(path)), None
        raise
