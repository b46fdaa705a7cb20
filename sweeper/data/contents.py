"""Opens and unpacks data files, and refuses content that does not fit into memory.

Only regular files are read: a pipe may never answer, and a device may never end.
"""

from __future__ import annotations

import gzip
import os
import resource
import stat
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import psutil

from sweeper import units
from sweeper.errors import DataError

MEMORY_FACTOR = 9
"""Memory that a file takes while it becomes examples, in multiples of its size. Measured with
200,000 rows of 250 characters: 8.3 as CSV, 6.2 as JSON Lines."""

ROW_BYTES = 700
"""Memory of a row besides its text. Measured with three million lines of one character."""

CELL_BYTES = 100
"""Memory of a workbook's cell besides its text: a pointer in its row, and an object."""

MIN_FREE_BYTES = 2**27
"""Memory that is left to other processes while rows are collected."""

_CHECK_EVERY_ROWS = 10_000

CHUNK_BYTES = 2**20

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: at four characters a token, it has 16 million tokens."""


Item = TypeVar("Item")


class RandomAccessFile:
    """A file that is read at any position; closed when the object is garbage-collected."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        weakref.finalize(self, os.close, self._handle)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``."""
        return os.pread(self._handle, end - start, start)


def file_and_key(path: Path) -> tuple[Path, str]:
    """File and key of a path ``FILE/KEY.json``; for other paths, the path and an empty key."""
    return (path.parent, path.stem) if path.parent.is_file() else (path, "")


@contextmanager
def open_data_file(path: Path) -> Iterator[BinaryIO]:
    """The opened file, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: It cannot be opened or unpacked, or is no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(
            f"cannot read the data: {error.strerror or error}",
            fix="Check the path and its permissions.",
            where=str(path),
        ) from error
    except ValueError as error:  # a null character in the name
        raise DataError(f"this is not a path ({error})", where=repr(str(path))) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DataError(
            "this is not a regular file",
            why="A pipe or a device may never end.",
            fix="Write its content to a file, and give that.",
            where=str(path),
            code="no-file",
        )
    with os.fdopen(handle, "rb") as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"the file cannot be unpacked ({error})",
                why="Its name ends in .gz, but its content is not (all of) a gzip file.",
                fix="Download it again, or rename it if it is not compressed.",
                where=str(path),
                code="damaged-file",
            ) from error


def free_bytes() -> int:
    """Bytes of memory that this process can still allocate."""
    free: int = psutil.virtual_memory().available
    own_limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if own_limit != resource.RLIM_INFINITY:
        free = min(free, max(0, own_limit - psutil.Process().memory_info().vms))
    return free


class MemoryLimit:
    """Refuses a file that must be held as a whole and takes more memory than is free."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._free = free_bytes()

    def check(self, size: int, cells: int = 0) -> None:
        """Check that the bytes and cells that were read so far fit into memory.

        Raises:
            DataError: They take more memory than was free at the beginning.
        """
        if MEMORY_FACTOR * size + CELL_BYTES * cells > self._free:
            raise out_of_memory(self._name)


def limited_by_memory(items: Iterable[Item], name: str) -> Iterator[Item]:
    """Yields the same items to a caller that keeps all of them.

    Raises:
        DataError: Less than ``MIN_FREE_BYTES`` of memory are free.
    """
    for number, item in enumerate(items, start=1):
        if not number % _CHECK_EVERY_ROWS and free_bytes() < MIN_FREE_BYTES:
            raise out_of_memory(name)
        yield item


def out_of_memory(name: str) -> DataError:
    """The error for rows that do not fit into memory."""
    return DataError(
        f"the rows do not fit into memory, of which {units.gib(free_bytes() / 2**30)} are free",
        why=f"A row takes about {MEMORY_FACTOR} times its text, and {ROW_BYTES} bytes.",
        fix="Give fewer rows. JSON Lines, and `plan`, `run` and `sweeper data check` without "
        "options that compare all rows, leave a large file on the disk.",
        where=name,
    )


def line_too_long(name: str, number: int, size: int) -> DataError:
    """The error for a line that is too long for an example."""
    return DataError(
        f"this line has {size / 2**20:,.0f} MiB",
        why=f"No example is longer than {MAX_LINE_BYTES // 2**20} MiB.",
        fix="Are the line breaks missing? Divide long documents into rows.",
        where=f"{name}:{number}",
    )
