"""The rows of a file as they are read. Large ones stay on the disk, and are read when accessed."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar, overload

from sweeper.cache import home
from sweeper.data.contents import MEMORY_FACTOR, ROW_BYTES, unpacked_suffix
from sweeper.data.problems import raise_any
from sweeper.errors import DataError, Problem

Fields = Mapping[str, object]
NumberedRow = tuple[int, Fields]
"""A line (or row) number with the fields of its row."""


class BrokenRow(NamedTuple):
    """A row that cannot be read, with the beginning of its text in the file."""

    line: int
    reason: str
    text: str


Item = TypeVar("Item", covariant=True)


class LazySequence(Sequence[Item]):
    """A sequence whose items are read from a file whenever they are accessed.

    Args:
        size: Number of items.
        item_at: Function that makes the item at an index.
        all_items: Function that makes all items in order, faster than one by one.
    """

    def __init__(
        self,
        size: int,
        item_at: Callable[[int], Item],
        all_items: Callable[[], Iterator[Item]] | None = None,
    ) -> None:
        self._size = size
        self._item_at = item_at
        self._all_items = all_items

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | LazySequence[Item]:
        indices = range(self._size)[index]
        if isinstance(indices, int):
            return self._item_at(indices)
        return LazySequence(len(indices), lambda position: self._item_at(indices[position]))

    def __iter__(self) -> Iterator[Item]:
        return self._all_items() if self._all_items else map(self._item_at, range(self._size))


def concatenate(parts: Sequence[Sequence[Item]]) -> Sequence[Item]:
    """The items of several sequences, one after the other."""
    if not any(isinstance(part, LazySequence) for part in parts):
        return tuple(item for part in parts for item in part)
    ends = list(accumulate(map(len, parts)))

    def item_at(index: int) -> Item:
        part = bisect_right(ends, index)
        return parts[part][index - ends[part] + len(parts[part])]

    return LazySequence(ends[-1], item_at, lambda: chain.from_iterable(parts))


_MAX_KEPT_CHARACTERS = 200
"""At most this many characters of a row that cannot be read are kept."""

_MIN_BROKEN_ROWS = 10_000
"""A file with at least this many broken rows is refused while it is read, if most are broken."""

SAMPLE_ROWS = 500
"""Rows in the sample, evenly spread over the table. Other loaders take about a hundred."""

MAX_COLUMNS = 10_000
"""A file with more columns is refused. A spreadsheet has 16,384 at most."""


@dataclass
class RowTable:
    """The rows of one or more files of the same split, with notes on how they were read.

    Args:
        rows: Line (or row) number and fields of every row; large ones stay on the disk.
        how: Sentences on how the file was read, where that had to be detected.
        label_names: From a column to the names of its integer classes, if the file states them.
        broken: Rows that could not be read.
        cautions: Sentences on what a user should check about how the file was read.
        known_columns: All columns as keys, if the reader of the file has noted them.
        count: How many rows were read.
    """

    name: str
    rows: Sequence[NumberedRow] = ()
    how: list[str] = field(default_factory=list)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    broken: list[BrokenRow] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    known_columns: dict[str, None] = field(default_factory=dict)
    count: int = 0

    @property
    def suffix(self) -> str:
        """The suffix of the file; if it is packed, the one before ``.gz``."""
        return unpacked_suffix(Path(self.name))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order in which they first occur."""
        return tuple(
            self.known_columns or dict.fromkeys(n for _, fields in self.rows for n in fields)
        )

    @cached_property
    def sample(self) -> Sequence[Fields]:
        """``SAMPLE_ROWS`` of the rows at equal distances."""
        return tuple(self.spread_rows(SAMPLE_ROWS))

    def spread_rows(self, size: int) -> Iterator[Fields]:
        """At most ``size`` rows at equal distances, the same ones every time."""
        step = max(1, -(-len(self.rows) // size))
        return (fields for _, fields in self.rows[::step])

    def leave_out(self, line: int, reason: str, text: str) -> None:
        """Note a line without a readable row.

        Raises:
            DataError: Many rows are broken, more than could be read.
        """
        self.broken.append(BrokenRow(line, reason, text[:_MAX_KEPT_CHARACTERS]))
        if len(self.broken) >= _MIN_BROKEN_ROWS:
            self.refuse_if_mostly_broken()

    def refuse_if_mostly_broken(self) -> None:
        """Refuse a file in which most rows are broken.

        Raises:
            DataError: Names the first broken rows.
        """
        if len(self.broken) > self.count:
            fix = "Repair or remove these lines."
            raise_any(
                [
                    Problem(row.reason, fix=fix, where=f"{self.name}:{row.line}")
                    for row in self.broken
                ]
            )

    def count_rows(self, rows: Iterable[NumberedRow]) -> Iterator[NumberedRow]:
        """The same rows; counts them, and notes their columns.

        Raises:
            DataError: There are too many columns.
        """
        for line, fields in rows:
            self.count += 1
            if not self.known_columns.keys() >= fields.keys():
                self.known_columns |= dict.fromkeys(fields)
            if len(self.known_columns) > MAX_COLUMNS:
                raise DataError(
                    f"more than {MAX_COLUMNS:,} columns",
                    why="Roles are looked for in every column.",
                    fix="Is this a matrix, or rows written side by side? Keep the columns with "
                    "text.",
                    where=f"{self.name}:{line}",
                )
            yield line, fields

    def concatenate(self, other: RowTable) -> RowTable:
        """This table with the rows of another file (a shard) after its own."""
        return RowTable(
            name=self.name,
            rows=concatenate((self.rows, other.rows)),
            how=list(dict.fromkeys(self.how + other.how)),
            label_names={**other.label_names, **self.label_names},
            cautions=list(dict.fromkeys(self.cautions + other.cautions)),
            known_columns=dict.fromkeys(self.columns + other.columns),
        )


LARGE_BYTES = 32 * 2**20
"""Rows of at least this total size are kept on disk. Smaller ones are kept in memory, where they
take nine times their size (``contents.MEMORY_FACTOR``), 0.3 GiB at most."""

WRITE_BUFFER_BYTES = 2**16
"""Size of the buffer of each file that is written."""


def collect_rows(rows: Iterable[NumberedRow]) -> Sequence[NumberedRow]:
    """The rows as a tuple or, if they are large, in an unnamed file that is deleted after its use.

    The file is pickled. That is safe, as no other process can open it.
    """
    pickled = (pickle.dumps(row, pickle.HIGHEST_PROTOCOL) for row in rows)
    pickled_rows: list[bytes] = []
    size = 0
    for data in pickled:
        pickled_rows.append(data)
        size += len(data) + ROW_BYTES // MEMORY_FACTOR  # the fixed memory of a row, too
        if size >= LARGE_BYTES:
            break
    else:
        return tuple(map(pickle.loads, pickled_rows))
    home().mkdir(parents=True, exist_ok=True)
    starts = array("Q", [0])
    with tempfile.TemporaryFile(dir=home()) as file:
        for data in chain(pickled_rows, pickled):
            starts.append(starts[-1] + file.write(data))
        file.flush()
        return _mapped_items(file, starts, pickle.loads)


@contextmanager
def item_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that appends an item to a file. A second file holds where each item begins."""
    starts = array("Q", [0])
    with path.open("wb", WRITE_BUFFER_BYTES) as file:
        yield lambda item: starts.append(starts[-1] + file.write(item))
    path.with_suffix(".starts").write_bytes(starts)


def stored_items(path: Path, make: Callable[[memoryview], Item]) -> LazySequence[Item]:
    """The items that ``item_writer`` wrote."""
    with path.open("rb") as items, path.with_suffix(".starts").open("rb") as starts:
        return _mapped_items(items, _mapped(starts).cast("Q"), make)


def _mapped_items(
    file: BinaryIO, starts: Sequence[int], make: Callable[[memoryview], Item]
) -> LazySequence[Item]:
    """The items of a file; each is made from its bytes when it is accessed.

    Args:
        starts: The byte at which each item begins, and the end of the last one.
    """
    content = _mapped(file)
    return LazySequence(
        len(starts) - 1, lambda index: make(content[starts[index] : starts[index + 1]])
    )


def _mapped(file: BinaryIO) -> memoryview:
    """The content of a file, which stays mapped as long as the view is used."""
    if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
        return memoryview(b"")
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
