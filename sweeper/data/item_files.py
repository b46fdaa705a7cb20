"""Files of items, which are read when they are asked for."""

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
from sweeper.data.contents import CHUNK_BYTES, COPIES, ROW_BYTES, Opened
from sweeper.data.table import Item, Numbered, Stored

LARGE_BYTES = 32 * 2**20
"""From this size on rows stay on the disk. As lists, smaller ones take up to 0.3 GiB, nine times
their size (``contents.COPIES``)."""

BUFFER_BYTES = 2**16
"""Bytes of each file that are written together."""


def collected(rows: Iterable[Numbered]) -> Sequence[Numbered]:
    """The rows: a tuple, or, of large ones, a file without a name that is gone with its last user.

    They are pickled for this process alone: nobody else can open the file.
    """
    pickled = (pickle.dumps(row, pickle.HIGHEST_PROTOCOL) for row in rows)
    first: list[bytes] = []
    size = 0
    for data in pickled:
        first.append(data)
        size += len(data) + ROW_BYTES // COPIES
        if size >= LARGE_BYTES:
            break
    else:
        return tuple(map(pickle.loads, first))
    home().mkdir(parents=True, exist_ok=True)
    starts = array("Q", [0])
    with tempfile.TemporaryFile(dir=home()) as file:
        for data in chain(first, pickled):
            starts.append(starts[-1] + file.write(data))
        file.flush()
        return items_of(Opened(os.dup(file.fileno())), starts, pickle.loads)


@contextmanager
def writing(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Writes items one after the other, and beside them where each one begins."""
    starts = array("Q", [0])
    with path.open("wb", BUFFER_BYTES) as file:
        yield lambda item: starts.append(starts[-1] + file.write(item))
    path.with_suffix(".starts").write_bytes(starts)


def stored_items(path: Path, make: Callable[[memoryview], Item]) -> Stored[Item]:
    """The items that ``writing`` wrote."""
    opened = Opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    with path.with_suffix(".starts").open("rb") as file:
        starts = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")
    return items_of(opened, starts, make)


def items_of(
    file: Opened, starts: Sequence[int], make: Callable[[memoryview], Item]
) -> Stored[Item]:
    """The items of a file, made of its bytes when they are asked for.

    Args:
        starts: Where each item begins, and the last one ends.
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

    return Stored(len(starts) - 1, lambda index: next(block(index, index + 1)), stream)
