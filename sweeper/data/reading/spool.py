"""Rows of large files: read once, and kept on the disk while they are used."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from sweeper.cache import home
from sweeper.data.contents import CHUNK_BYTES, COPIES, ROW_BYTES, Opened, opened, part_of
from sweeper.data.table import Numbered, Stored

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
        kept = Opened(os.dup(file.fileno()))

    def block(first: int, last: int) -> Iterator[Numbered]:
        data = memoryview(kept.read(starts[first], starts[last]))
        for place in range(first, last):
            yield pickle.loads(data[starts[place] - starts[first] :])

    def stream() -> Iterator[Numbered]:
        first = 0
        while first < len(starts) - 1:
            last = max(first + 1, bisect_right(starts, starts[first] + CHUNK_BYTES) - 1)
            yield from block(first, last)
            first = last

    return Stored(len(starts) - 1, lambda place: next(block(place, place + 1)), stream)
