"""Rows of large files, which stay on the disk: what is kept is where each row begins.

A packed file is unpacked again at every pass, and up to a row that is asked for. Rows are cheap to
ask for in the order of the file.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

from sweeper.data.contents import MOST_LINE_BYTES, Opened, line_too_long, packed
from sweeper.data.encoding import GUESSED_FROM, REPLACEMENT, TOLERATED, encoding_of, read_as
from sweeper.data.problems import Problems
from sweeper.data.reading.arrow import BINARY, stored_batches
from sweeper.data.reading.delimited import layout_of
from sweeper.data.reading.jsonrows import is_one_document, objects, refuse_most
from sweeper.data.table import MOST_COLUMNS, Numbered, RowTable, Stored, too_many_columns
from sweeper.progress import told

LARGE_BYTES = 32 * 2**20
"""From this size on rows stay in their file. As lists, smaller ones take up to 0.3 GiB, nine times
their size (``contents.COPIES``)."""

PACKED = 8
"""How many times its size a Parquet or gzip file counts. Text packs to a third or a tenth."""

_DELIMITED = (".csv", ".tsv")
_SUFFIXES = (".jsonl", ".ndjson", ".json", *_DELIMITED, *BINARY)

_Binary = BinaryIO | gzip.GzipFile | io.BytesIO
Scan = Callable[[Iterable[str], str, Problems, list[tuple[int, str]]], Iterator[Numbered]]
"""Rows with the numbers of their lines; the broken ones are noted."""


def is_large(path: Path) -> bool:
    """Whether the rows of a file may stay in it."""
    suffix, in_gzip = _kind(path)
    if suffix not in _SUFFIXES or (in_gzip and suffix in BINARY) or not path.is_file():
        return False
    size = path.stat().st_size
    return size * (PACKED if in_gzip or suffix == ".parquet" else 1) >= LARGE_BYTES


def read_large(path: Path, name: str) -> RowTable | None:
    """The rows of a large file; None where it has to be read into memory as a whole.

    Raises:
        DataError: A line is too long, or more lines are broken than can be read.
    """
    if not is_large(path):
        return None
    suffix, in_gzip = _kind(path)
    if suffix in BINARY:
        return stored_batches(path, name)
    with packed(path):
        return _indexed(_TextFile(path, name, suffix, in_gzip))


def state_of(*paths: Path, read_as: str = "") -> str:
    """A name for files as they are now: another one when their path, size or time changes."""
    found = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.blake2b(repr((found, read_as)).encode(), digest_size=16).hexdigest()


def _kind(path: Path) -> tuple[str, bool]:
    """The suffix without ``.gz``, and whether that was there."""
    name = path.name.lower()
    return PurePath(name.removesuffix(".gz")).suffix, name.endswith(".gz")


@dataclass(frozen=True)
class _TextFile:
    """A text file.

    Args:
        path: Where it is.
        name: For messages.
        suffix: Of its format.
        in_gzip: It is packed.
        encoding: Of lines that are not UTF-8; empty where their characters are replaced.
    """

    path: Path
    name: str
    suffix: str
    in_gzip: bool
    encoding: str = ""

    def opened(self) -> _Binary:
        """The file, unpacked."""
        return gzip.GzipFile(self.path) if self.in_gzip else self.path.open("rb")

    def scan(self) -> tuple[tuple[str, ...], Scan | None]:
        """In words, how the file is read, and what reads it; None if nothing here does."""
        with self.opened() as opened:
            head = opened.read(GUESSED_FROM)
        if b"\0" in head:
            return (), None
        text = "".join(_Lines(io.BytesIO(head), self))
        if self.suffix in _DELIMITED:
            # A file whose lines end in \r alone is not divided by \n.
            layout = None if "\r" in text.replace("\r\n", "") else layout_of(text, self.suffix)
            return ((layout.said,), layout.rows) if layout else ((), None)
        if text.lstrip().startswith("[") or (self.suffix == ".json" and is_one_document(text)):
            return (), None
        return ("the content is JSON Lines",) if self.suffix == ".json" else (), objects

    def reader(self) -> Callable[[int, int], bytes]:
        """Gives the bytes from a place up to another."""
        if not self.in_gzip:
            return Opened(self.path).read
        file = self.opened()

        def read(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        return read


class _Lines:
    """The lines of a file as text."""

    def __init__(self, file: _Binary, of: _TextFile) -> None:
        self._file = file
        self._of = of
        self._starts: dict[int, int] = {}
        self.count = 0
        self.end = 0
        self.garbled: list[int] = []
        self.not_utf8 = self.first = 0
        self.sample = b""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MOST_LINE_BYTES + 2):
            self.count += 1
            start, self.end = self.end, self.end + len(line)
            if len(line) > MOST_LINE_BYTES + 1:
                raise line_too_long(self._of.name, self.count, len(line))
            if start == 0 and line.startswith(codecs.BOM_UTF8):
                start = len(codecs.BOM_UTF8)
                line = line.removeprefix(codecs.BOM_UTF8)
            self._starts[self.count] = start
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield self._mended(line)

    def start_of(self, number: int) -> int:
        """Where a line begins that was read since the last one that was asked for."""
        start = self._starts[number]
        self._starts.clear()
        return start

    def _mended(self, line: bytes) -> str:
        self.not_utf8 += 1
        self.first = self.first or self.count
        if len(self.sample) < GUESSED_FROM:
            self.sample += line
        text = line.decode(self._of.encoding or "utf-8", errors="replace")
        if REPLACEMENT in text:
            self.garbled.append(self.count)
        return text


def _indexed(file: _TextFile) -> RowTable | None:
    how, scan = file.scan()
    if scan is None:
        return None
    problems = Problems()
    broken: list[tuple[int, str]] = []
    starts, numbers = array("Q"), array("I")
    columns: dict[str, None] = {}
    with file.opened() as opened:
        lines = _Lines(opened, file)
        rows = scan(lines, file.name, problems, broken)
        done = partial(os.lseek, opened.fileno(), 0, os.SEEK_CUR)
        size = file.path.stat().st_size
        for number, fields in told(rows, f"reading {file.name}", size, done):
            starts.append(lines.start_of(number))
            numbers.append(number)
            if not columns.keys() >= fields.keys():
                columns |= dict.fromkeys(fields)
                if len(columns) > MOST_COLUMNS:
                    raise too_many_columns(file.name, number)
    refuse_most(len(starts), broken, problems)
    if not starts:
        return None
    starts.append(lines.end)
    if lines.not_utf8 > TOLERATED * lines.count and not file.encoding:
        return _indexed(replace(file, encoding=encoding_of(lines.sample)))
    said = read_as(file.encoding, lines.not_utf8, lines.count, file.name, lines.first)
    return RowTable(
        file.name,
        _rows(file, scan, starts, numbers),
        how=how,
        garbled=tuple(lines.garbled),
        broken=tuple(broken),
        cautions=(said,) if file.encoding else (),
        named=tuple(columns),
    )


def _rows(file: _TextFile, scan: Scan, starts: array[int], numbers: array[int]) -> Stored[Numbered]:
    read = file.reader()

    def again(opened: _Binary) -> Iterator[Numbered]:
        lines = _Lines(opened, file)
        for number, fields in scan(lines, file.name, Problems(), []):
            lines.start_of(number)  # which forgets it
            yield number, fields

    def at(place: int) -> Numbered:
        _, fields = next(again(io.BytesIO(read(starts[place], starts[place + 1]))))
        return numbers[place], fields

    def stream() -> Iterator[Numbered]:
        with file.opened() as opened:
            yield from again(opened)

    return Stored(len(numbers), at, stream)
