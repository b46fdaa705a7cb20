"""Rows of large files, which stay on the disk: what is kept is where each row begins.

A packed file is unpacked again at every pass, and up to a row that is asked for. Rows are cheap to
ask for in the order of the file. Files that are not lines of text (JSON lists, UTF-16, Excel) are
copied as such into ``SWEEPER_HOME``, once.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path, PurePath
from typing import BinaryIO

from sweeper.cache import home, made_while_used
from sweeper.data.contents import (
    CHUNK_BYTES,
    MOST_LINE_BYTES,
    Opened,
    line_too_long,
    many_rows,
    packed,
    part_of,
)
from sweeper.data.encoding import (
    GUESSED_FROM,
    LISTED_LINES,
    decoded_line,
    encoding_of,
    read_as,
    utf16_caution,
    utf16_of,
    whole_utf16,
)
from sweeper.data.reading.arrow import BINARY, stored_batches
from sweeper.data.reading.delimited import layout_of
from sweeper.data.reading.excel import first_sheet
from sweeper.data.reading.jsonrows import (
    JsonStream,
    broken_row,
    is_one_document,
    objects,
    refuse_most,
    the_rows,
)
from sweeper.data.table import MOST_COLUMNS, Broken, Numbered, RowTable, Stored, too_many_columns
from sweeper.jsontext import value_of
from sweeper.progress import told

LARGE_BYTES = 32 * 2**20
"""From this size on rows stay in their file. As lists, smaller ones take up to 0.3 GiB, nine times
their size (``contents.COPIES``)."""

PACKED = 8
"""How many times its size a Parquet, Excel or gzip file counts. Text shrinks to a third or a
tenth."""

_DELIMITED = (".csv", ".tsv")
_EXCEL = ".xlsx"
_BINARY = (*BINARY, _EXCEL)
_SUFFIXES = (".jsonl", ".ndjson", ".json", *_DELIMITED, *_BINARY)
_INDEX = "index.json"
_SHOWN = 200
"""Characters that are kept of a row that cannot be read."""

_Binary = BinaryIO | gzip.GzipFile | io.BytesIO
Scan = Callable[[Iterable[str], str, list[Broken]], Iterator[Numbered]]
"""Rows with the numbers of their lines; the broken ones are noted."""


def is_large(path: Path) -> bool:
    """Whether the rows of a file may stay in it."""
    path, _ = part_of(path)
    suffix, in_gzip = _kind(path)
    if suffix not in _SUFFIXES or (in_gzip and suffix in _BINARY) or not path.is_file():
        return False
    size = path.stat().st_size
    return size * (PACKED if in_gzip or suffix in (".parquet", _EXCEL) else 1) >= LARGE_BYTES


def read_large(path: Path, name: str) -> RowTable | None:
    """The rows of a large file; None where it has to be read into memory as a whole.

    Raises:
        DataError: A line is too long, or more lines are broken than can be read.
    """
    if not is_large(path):
        return None
    path, key = part_of(path)
    suffix, in_gzip = _kind(path)
    if suffix in BINARY:
        return stored_batches(path, name)
    file = _TextFile(path, name, suffix, in_gzip)
    with packed(path):
        while file.copied:
            lists = _copies(file)
            if not lists:
                return None
            file = lists[""] if "" in lists else lists[key or the_rows(lists, name)]
        return _indexed(file)


def keys_in(path: Path, name: str) -> tuple[str, ...] | None:
    """The keys of the lists in a large JSON file, which may have none; None if it has no lists."""
    lists = {"": _TextFile(path, name, *_kind(path))}
    with packed(path):
        while "" in lists and lists[""].copied:  # twice if it is UTF-16
            lists = _copies(lists[""])
    return tuple(filter(None, lists)) if lists else None


def state_of(*paths: Path, read_as: str = "") -> str:
    """A name for files as they are now: another one when their path, size or time changes."""
    files = [part_of(path)[0] for path in paths]
    found = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((found, read_as)).encode(), digest_size=16).hexdigest()


def _kind(path: Path) -> tuple[str, bool]:
    """The suffix without ``.gz``, and whether that was there."""
    name = path.name.lower()
    return PurePath(name.removesuffix(".gz")).suffix, name.endswith(".gz")


@dataclass(frozen=True)
class _TextFile:
    """A text file.

    Args:
        in_gzip: It is packed.
        encoding: Of lines that are not UTF-8; empty while it is unknown whether there are any.
        original: What is known of the file that this is a copy of, besides its rows.
    """

    path: Path
    name: str
    suffix: str
    in_gzip: bool
    encoding: str = ""
    original: RowTable | None = None

    @property
    def copied(self) -> str:
        """Why rows are read from a copy: ``Excel``, ``UTF-16``, ``JSON``; empty if they are not."""
        if self.suffix == _EXCEL or (self.original and self.original.how):
            return "" if self.original else "Excel"
        head = self.head()
        if utf16_of(head):
            return "UTF-16"
        if self.suffix in _DELIMITED:
            return ""
        text = head.removeprefix(codecs.BOM_UTF8).decode("latin-1").lstrip()
        # `{` alone begins an object that is printed in several lines.
        one = text.split("\n", 1)[0].strip() == "{" or self.suffix == ".json"
        return "JSON" if text[:1] == "[" or (one and is_one_document(text)) else ""

    def head(self) -> bytes:
        with self.opened() as opened:
            return opened.read(GUESSED_FROM)

    def opened(self) -> _Binary:
        """The file, unpacked."""
        return gzip.GzipFile(self.path) if self.in_gzip else self.path.open("rb")

    def scan(self) -> tuple[tuple[str, ...], Scan | None]:
        """In words, how the file is read, and what reads it; None if nothing here does."""
        head = self.head()
        if b"\0" in head:
            return (), None
        text = "".join(_Lines(io.BytesIO(head), self))
        if self.suffix in _DELIMITED:
            # A file whose lines end in \r alone is not divided by \n.
            layout = None if "\r" in text.replace("\r\n", "") else layout_of(text, self.suffix)
            return ((layout.said,), layout.rows) if layout else ((), None)
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
        self.not_utf8 = 0
        self.first: list[int] = []
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
            if not line.isspace():  # where no row begins
                self._starts[self.count] = start
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield self._mended(line)

    def start_of(self, number: int) -> int:
        """Where a line begins that is not above the last one that was asked for."""
        while (line := next(iter(self._starts))) < number:
            del self._starts[line]
        return self._starts.pop(number)

    def _mended(self, line: bytes) -> str:
        self.not_utf8 += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(self.count)
        if len(self.sample) < GUESSED_FROM:
            self.sample += line
        return decoded_line(line, self._of.encoding or "latin-1")


def _copies(file: _TextFile) -> dict[str, _TextFile]:
    """The lists of a file by their keys, each copied as lines; none where it holds no list."""
    known = state_of(file.path, read_as=version("finetune-sweeper"))
    folder = made_while_used(home() / "lines" / known, partial(_copy, file))
    found: dict[str, _TextFile] = {}
    for number, (key, broken, *said) in enumerate(value_of((folder / _INDEX).read_text("utf-8"))):
        suffix, how, cautions = said
        before = file.original.cautions if file.original else ()
        original = RowTable(
            file.name,
            (),
            how=tuple(how),
            broken=tuple(broken_row(file.name, *one) for one in broken),
            cautions=(*before, *cautions),
        )
        path = folder / f"{number}{suffix}"
        found[key] = _TextFile(path, file.name, suffix, False, original=original)
    return found


def _copy(file: _TextFile, folder: Path) -> None:
    """Write what ``_copies`` reads: a file for each list, and of each its key and what is known."""
    kind, name = file.copied, file.name
    if kind == "UTF-16":
        encoding = utf16_of(file.head())
        with (
            whole_utf16(name),
            file.opened() as opened,
            (folder / f"0{file.suffix}").open("wb") as to,
        ):
            for text in codecs.iterdecode(_chunks(opened, file), encoding):
                to.write(text.encode("utf-8", "surrogatepass"))
        index: _Index = [("", (), file.suffix, (), utf16_caution(encoding, name))]
    elif kind == "Excel":
        table, rows = first_sheet(file.path, name)
        with _LineWriter(folder / "0.jsonl") as writer:
            for line, fields in rows:
                writer.write(line, json.dumps(fields, default=str))
        index = [("", (), ".jsonl", table.how, table.cautions)] if table.how else []
    else:
        index = _copy_lists(file, folder)
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


_Index = list[tuple[str, Sequence[tuple[int, str, str]], str, Sequence[str], Sequence[str]]]
"""Of each copy the key, broken rows, suffix, how its original was read, and cautions."""


def _copy_lists(file: _TextFile, folder: Path) -> _Index:
    broken: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    writers: dict[str, _LineWriter] = {}
    with ExitStack() as stack, file.opened() as opened:
        # As Latin-1, each byte is a character: the lines of the copy tell their encoding.
        stream = JsonStream(chunk.decode("latin-1") for chunk in _chunks(opened, file))
        for key, line, text, row in stream.elements():
            if isinstance(row, str):
                shown = text.encode("latin-1").decode(errors="replace")[:_SHOWN]
                broken[key].append((line, row, shown))
                continue
            if "paragraphs" in row:  # whose questions are rows, which are not copied
                return []
            if key not in writers:
                path = folder / f"{len(writers)}.jsonl"
                writers[key] = stack.enter_context(_LineWriter(path))
            writers[key].write(line, text)
    return [
        (
            key,
            broken[key],
            ".jsonl",
            stream.how(key),
            stream.cautions,
        )
        for key in writers
    ]


class _Clipped(list[Broken]):
    """Rows that cannot be read, with the beginnings of their texts."""

    def append(self, one: Broken) -> None:
        super().append(one._replace(text=one.text[:_SHOWN]))


class _LineWriter:
    """Writes rows into the lines that have their numbers."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", 2**16)
        self._line = 0

    def __enter__(self) -> _LineWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: int, row: str) -> None:
        """Write a row, all of whose characters are bytes."""
        self._file.write(b"\n" * (line - self._line - 1))
        self._file.write(row.replace("\n", " ").replace("\r", " ").encode("latin-1") + b"\n")
        self._line = line


def _chunks(opened: _Binary, file: _TextFile) -> Iterator[bytes]:
    """The bytes of a file without a mark of UTF-8, with progress."""
    first = opened.read(len(codecs.BOM_UTF8))
    parts = chain(
        [first.removeprefix(codecs.BOM_UTF8)], iter(partial(opened.read, CHUNK_BYTES), b"")
    )
    done = partial(os.lseek, opened.fileno(), 0, os.SEEK_CUR)
    yield from told(parts, f"copying {file.name}", file.path.stat().st_size, done)


@many_rows()
def _indexed(file: _TextFile) -> RowTable | None:
    how, scan = file.scan()
    if scan is None:
        return None
    cautions: tuple[str, ...] = ()
    broken = _Clipped()
    if file.original is not None:
        how = file.original.how or how
        broken.extend(file.original.broken)
        cautions = file.original.cautions
    starts, numbers = array("Q"), array("I")
    columns: dict[str, None] = {}
    with file.opened() as opened:
        lines = _Lines(opened, file)
        rows = scan(lines, file.name, broken)
        done = partial(os.lseek, opened.fileno(), 0, os.SEEK_CUR)
        size = file.path.stat().st_size
        for number, fields in told(rows, f"reading {file.name}", size, done):
            starts.append(lines.start_of(number))
            numbers.append(number)
            if not columns.keys() >= fields.keys():
                columns |= dict.fromkeys(fields)
                if len(columns) > MOST_COLUMNS:
                    raise too_many_columns(file.name, number)
    refuse_most(len(starts), broken)
    if not starts:
        return None
    starts.append(lines.end)
    if lines.not_utf8 and not file.encoding:
        return _indexed(replace(file, encoding=encoding_of(lines.sample)))
    said = read_as(file.encoding, lines.not_utf8, lines.count, file.name, lines.first)
    return RowTable(
        file.name,
        _rows(file, scan, starts, numbers),
        how=how,
        broken=tuple(broken),
        cautions=(*cautions, said) if file.encoding else cautions,
        named=tuple(columns),
    )


def _rows(file: _TextFile, scan: Scan, starts: array[int], numbers: array[int]) -> Stored[Numbered]:
    read = file.reader()
    # So that a row is not taken for what is above the table.
    above = b"\n" * (numbers[0] - 1 if file.suffix in _DELIMITED else 0)

    def again(opened: _Binary) -> Iterator[Numbered]:
        lines = _Lines(opened, file)
        for number, fields in scan(lines, file.name, []):
            lines.start_of(number)  # which forgets it
            yield number, fields

    def at(place: int) -> Numbered:
        _, fields = next(again(io.BytesIO(above + read(starts[place], starts[place + 1]))))
        return numbers[place], fields

    def stream() -> Iterator[Numbered]:
        with file.opened() as opened:
            yield from again(opened)

    return Stored(len(numbers), at, stream)
