"""Files of items, each of which is read when it is accessed."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from sweeper.cache import home
from sweeper.data.contents import CHUNK_BYTES, MEMORY_FACTOR, ROW_BYTES, RandomAccessFile
from sweeper.data.table import Item, LazySequence, NumberedRow

LARGE_BYTES = 32 * 2**20
"""Rows of at least this total size are kept on disk. Smaller ones are kept in memory, where they
take nine times their size (``contents.MEMORY_FACTOR``), 0.3 GiB at most."""

WRITE_BUFFER_BYTES = 2**16
"""The buffer of each file that is written."""


def collect_rows(rows: Iterable[NumberedRow]) -> Sequence[NumberedRow]:
    """The rows as a tuple or, if they are large, in an unnamed file deleted after its last use.

    Pickle is safe here, as no other process can open the file.
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
        return items_of(RandomAccessFile(os.dup(file.fileno())), starts, pickle.loads)


@contextmanager
def item_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that appends an item to a file; a second file stores where each item begins."""
    starts = array("Q", [0])
    with path.open("wb", WRITE_BUFFER_BYTES) as file:
        yield lambda item: starts.append(starts[-1] + file.write(item))
    path.with_suffix(".starts").write_bytes(starts)


def stored_items(path: Path, make: Callable[[memoryview], Item]) -> LazySequence[Item]:
    """The items that ``item_writer`` wrote."""
    opened_file = RandomAccessFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    with path.with_suffix(".starts").open("rb") as file:
        starts = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")
    return items_of(opened_file, starts, make)


def items_of(
    file: RandomAccessFile, starts: Sequence[int], make: Callable[[memoryview], Item]
) -> LazySequence[Item]:
    """The items of a file; each is made from its bytes when it is accessed.

    Args:
        starts: The position at which each item begins, and the end of the last one.
    """

    def block(first: int, last: int) -> Iterator[Item]:
        begin = starts[first]
        data = memoryview(file.read(begin, starts[last]))
        for index in range(first, last):
            yield make(data[starts[index] - begin : starts[index + 1] - begin])

    def stream() -> Iterator[Item]:
        first, count = 0, len(starts) - 1
        while first < count:
            last = max(first + 1, bisect_right(starts, starts[first] + CHUNK_BYTES) - 1)
            yield from block(first, last)
            first = last

    return LazySequence(len(starts) - 1, lambda index: next(block(index, index + 1)), stream)
