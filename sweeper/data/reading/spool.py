"""Rows of large files: read once, and kept on the disk while they are used."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sweeper.cache import home
from sweeper.data.contents import CHUNK_BYTES, COPIES, ROW_BYTES, Opened, opened, part_of
from sweeper.data.table import Item, Numbered, Stored

LARGE_BYTES = 32 * 2**20
"""From this size on rows stay on the disk. As lists, smaller ones take up to 0.3 GiB, nine times
their size (``contents.COPIES``)."""

_PACKED = {".parquet": 8, ".xlsx": 8, ".arrow": 1}
"""How many times its size such a file counts, which cannot be read line by line."""


def is_large(path: Path) -> bool:
    """Whether the rows of a file are kept on the disk: it has many bytes, or many lines."""
    path, _ = part_of(path)
    if path.suffix.lower() in _PACKED:
        return path.stat().st_size * _PACKED[path.suffix.lower()] >= LARGE_BYTES
    size = 0
    with opened(path) as file:
        for chunk in iter(partial(file.read, CHUNK_BYTES), b""):
            size += len(chunk) + chunk.count(b"\n") * ROW_BYTES // COPIES
            if size >= LARGE_BYTES:
                return True
    return False


def spooled(rows: Iterable[Numbered]) -> Stored[Numbered]:
    """The rows in a file without a name, which is gone when nobody uses them any more."""
    home().mkdir(parents=True, exist_ok=True)
    starts = array("Q", [0])
    with tempfile.TemporaryFile(dir=home()) as file:
        for row in rows:  # pickled for this process alone: nobody else can open the file
            starts.append(starts[-1] + file.write(pickle.dumps(row, pickle.HIGHEST_PROTOCOL)))
        file.flush()
        return items_of(Opened(os.dup(file.fileno())), starts, pickle.loads)


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
        for place in range(first, last):
            yield make(data[starts[place] - begin : starts[place + 1] - begin])

    def stream() -> Iterator[Item]:
        first, count = 0, len(starts) - 1
        while first < count:
            last = max(first + 1, bisect_right(starts, starts[first] + CHUNK_BYTES) - 1)
            yield from block(first, last)
            first = last

    return Stored(len(starts) - 1, lambda place: next(block(place, place + 1)), stream)
