"""Reads untrusted text files and JSON, and replaces files and folders atomically."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_decode = json.JSONDecoder().raw_decode
"""The function behind ``json.loads``. On short rows, direct calls are much faster."""

MAX_FLOAT = 1e39
"""Limit on floats in bounded JSON: above any float32, and sums of their squares stay finite."""


def _bounded_float(digits: str) -> float:
    if abs(number := float(digits)) > MAX_FLOAT:
        raise ValueError(f"the number {digits:.40} is above {MAX_FLOAT:g}")
    return number


def json_value(text: str | bytes, *, bounded: bool = False) -> Any:
    """The value in a JSON text.

    Args:
        bounded: Whether floats above ``MAX_FLOAT`` are refused.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has a refused float.
    """
    try:
        if bounded:
            return json.loads(text, parse_float=_bounded_float)
        if isinstance(text, str):
            try:
                value, end = _decode(text)
            except json.JSONDecodeError:  # leading white space, or no JSON
                return json.loads(text)
            if text[end:] in ("", "\n", "\r\n"):
                return value
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_object(text: str | bytes) -> dict[str, Any]:
    """The object in a JSON text.

    Raises:
        ValueError: The text is not a JSON object.
    """
    value = json_value(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


MAX_BYTES = 256 * 2**20
"""Size limit of files to read: no configuration of a model or file of a run is larger."""


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file; ``errors`` as for ``bytes.decode``.

    Pipes and devices are refused, since a pipe may block and ``/dev/zero`` never ends.

    Raises:
        OSError: The file cannot be read, is not regular, or is too large.
        UnicodeDecodeError: The file is not UTF-8.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EINVAL, f"larger than {MAX_BYTES >> 20} MiB", str(path))
    return content.decode("utf-8", errors).replace("\r\n", "\n")


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: As in ``read_text``.
        ValueError: The text is not a JSON object in UTF-8.
    """
    return json_object(read_text(path))


def write_text(path: Path, text: str, *, synced: bool = True) -> None:
    """Replace a file's text atomically.

    Args:
        synced: Whether to sync the text to the disk before it replaces the old one, which takes
            milliseconds. If False, a power cut may leave an empty file: only for files that can be
            made again.

    Raises:
        OSError: The folder is not writable or the disk is full; the old file stays complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        if synced and temporary != path:
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
    temporary = path if is_device else path.parent / f".{uuid.uuid4().hex[:8]}.{path.name}"
    try:
        yield temporary
        if not is_device:
            temporary.replace(path)
    except BaseException as error:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif not is_device:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            filename = str(error.filename2 or error.filename or path)
            error.filename, error.filename2 = filename.replace(str(temporary), str(path)), None
        raise
