"""Rows of large JSON Lines files, which stay on the disk: what is kept is where each row begins."""

from __future__ import annotations

import codecs
import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sweeper.data.contents import MOST_LINE_BYTES, Opened, line_too_long
from sweeper.data.encoding import GUESSED_FROM, TOLERATED
from sweeper.data.problems import Problems
from sweeper.data.reading.jsonrows import objects, refuse_most
from sweeper.data.table import MOST_COLUMNS, Numbered, RowTable, Stored, too_many_columns
from sweeper.jsontext import value_of
from sweeper.progress import told

LARGE_BYTES = 32 * 2**20
"""From this size on rows stay in their file. As lists, smaller ones take up to 0.3 GiB, nine times
their size (``contents.COPIES``)."""

_SUFFIXES = (".jsonl", ".ndjson")


def is_large(path: Path) -> bool:
    """Whether the rows of a file may stay in it."""
    named = path.name.lower().endswith(_SUFFIXES)
    return named and path.is_file() and path.stat().st_size >= LARGE_BYTES


def read_large(path: Path, name: str) -> RowTable | None:
    """The rows of a large file; None where it has to be read into memory as a whole.

    Raises:
        DataError: A line is too long, or more lines are broken than can be read.
    """
    if not is_large(path):
        return None
    with path.open("rb") as file:
        head = file.read(GUESSED_FROM)
    if b"\0" in head or head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        return None
    return _indexed(path, name)


def state_of(*paths: Path, read_as: str = "") -> str:
    """A name for files as they are now: another one when their path, size or time changes."""
    found = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.blake2b(repr((found, read_as)).encode(), digest_size=16).hexdigest()


class _Lines:
    """The lines of a file as text, and where the latest begins."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self.count = 0
        self.start = self._end = 0
        self.garbled: list[int] = []

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MOST_LINE_BYTES + 2):
            self.count += 1
            self.start, self._end = self._end, self._end + len(line)
            if len(line) > MOST_LINE_BYTES + 1:
                raise line_too_long(self._name, self.count, len(line))
            if self.count == 1 and line.startswith(codecs.BOM_UTF8):
                self.start += len(codecs.BOM_UTF8)
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self.garbled.append(self.count)
                yield _text(line)

    def done(self) -> int:
        return self.start


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


def _indexed(path: Path, name: str) -> RowTable | None:
    problems = Problems()
    broken: list[tuple[int, str]] = []
    starts, numbers = array("Q"), array("I")
    columns: dict[str, None] = {}
    with path.open("rb") as file:
        lines = _Lines(file, name)
        rows = objects(lines, name, problems, broken)
        for number, fields in told(rows, f"reading {name}", path.stat().st_size, lines.done):
            starts.append(lines.start)
            numbers.append(number)
            if not columns.keys() >= fields.keys():
                columns |= dict.fromkeys(fields)
                if len(columns) > MOST_COLUMNS:
                    raise too_many_columns(name, number)
    refuse_most(len(starts), broken, problems)
    if len(lines.garbled) > TOLERATED * lines.count:
        return None  # in another encoding, which is guessed from all of it
    return RowTable(
        name,
        _rows(path, starts, numbers),
        garbled=tuple(lines.garbled),
        broken=tuple(broken),
        named=tuple(columns),
    )


def _rows(path: Path, starts: array[int], numbers: array[int]) -> Stored[Numbered]:
    opened = Opened(path)
    starts.append(path.stat().st_size)

    def at(place: int) -> Numbered:
        read = opened.read(starts[place], starts[place + 1])
        return numbers[place], value_of(_text(read.partition(b"\n")[0]))

    def stream() -> Iterator[Numbered]:
        with path.open("rb") as file:
            due = iter(zip(starts, numbers, strict=False))
            start, number = next(due, (-1, 0))
            here = file.seek(starts[0])
            for line in file:
                if here == start:
                    yield number, value_of(_text(line))
                    start, number = next(due, (-1, 0))
                here += len(line)

    return Stored(len(numbers), at, stream)
