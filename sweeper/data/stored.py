"""Examples of large files, in a folder: put in the order of their keys without holding them.

Rows are divided by the first byte of their key, which is a hash: each part is small enough to be
sorted in memory, and one part after the other gives all rows in order. An example is one line, its
key, content hash, split and line number in front of its content.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from heapq import nsmallest
from itertools import accumulate
from pathlib import Path
from typing import Any

from sweeper.data.contents import Opened
from sweeper.data.examples import SPLITS, Example, Message, Split, digest
from sweeper.data.splits import Repeated, class_of, class_sizes
from sweeper.data.table import Stored
from sweeper.jsontext import value_of
from sweeper.progress import told

_PARTS = 256
"""At most 256: 40 MB of rows each in a file of 10 GB."""

_BUFFER = 2**16
"""Bytes of each file that are written together."""

_KEY = 32
"""Characters of a key and of a content hash."""


class StoredRow:
    """The line of one example; what is in front of its content is read without parsing it."""

    __slots__ = ("line",)

    def __init__(self, line: bytes) -> None:
        self.line = line

    @classmethod
    def of(cls, split: Split, example: Example) -> StoredRow:
        values = [getattr(example, name) for name in _FIELDS]
        values[_TURNS] = [(turn.role, turn.content, turn.more) for turn in example.messages]
        head = f"{example.key}{example.content_hash()}{SPLITS.index(split)}{example.line:012}"
        return cls(f"{head}{_ENCODER.encode(values)}\n".encode())

    @property
    def key(self) -> str:
        return self.line[:_KEY].decode()

    @property
    def content_hash(self) -> bytes:
        return self.line[_KEY : 2 * _KEY]

    @property
    def split(self) -> Split:
        return SPLITS[self.line[2 * _KEY] - ord("0")]

    def example(self) -> Example:
        values: list[Any] = value_of(self.line[2 * _KEY + 13 :].decode())
        values[_TURNS] = [Message(*turn) for turn in values[_TURNS]]
        as_tuples: Any = (tuple(one) if isinstance(one, list) else one for one in values)
        return Example(*as_tuples)


_FIELDS = tuple(one.name for one in fields(Example))
_TURNS = _FIELDS.index("messages")
_ENCODER = json.JSONEncoder(check_circular=False)


class Sorter(ExitStack):
    """Rows in the order of their keys, in files that are removed when the work is done."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        self._folder = folder
        self._added = 0
        self.callback(shutil.rmtree, folder)
        self._files = [
            self.enter_context((folder / f"{part:02x}").open("wb", _BUFFER))
            for part in range(_PARTS)
        ]

    def add(self, split: Split, example: Example) -> None:
        self._added += 1
        self._files[int(example.key[:2], 16) * _PARTS // 256].write(
            StoredRow.of(split, example).line
        )

    def __len__(self) -> int:
        return self._added

    def sort(self, change: Callable[[Split, Example], Example | None] | None = None) -> None:
        """End adding; ``change`` gives what becomes of an example, None where it is left out."""
        for written in self._files:
            written.close()
        if change is None:
            return
        for part in told(range(_PARTS), "reconciling labels", _PARTS):
            rows = ((row.split, row.example()) for row in map(StoredRow, self._lines(part)))
            changed = [(split, change(split, example)) for split, example in rows]
            lines = [StoredRow.of(split, new).line for split, new in changed if new]
            self._path(part).write_bytes(b"".join(lines))

    def groups(self) -> Iterator[list[StoredRow]]:
        """The rows of each input, in order."""
        for part in range(_PARTS):
            group: list[StoredRow] = []
            key = b""
            for line in sorted(self._lines(part)):
                if not line.startswith(key) and group:
                    yield group
                    group = []
                if not group:
                    key = line[:_KEY]
                group.append(StoredRow(line))
            if group:
                yield group

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:02x}"

    def _lines(self, part: int) -> list[bytes]:
        with self._path(part).open("rb") as file:
            return list(file)


class SplitWriter(ExitStack):
    """Writes the rows of the splits, each into a file of its own, with the places of the rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._rows = {s: self.enter_context(_rows(folder, s).open("wb", _BUFFER)) for s in SPLITS}
        self._at = {s: self.enter_context(_places(folder, s).open("wb")) for s in SPLITS}
        self._written = dict.fromkeys(SPLITS, 0)

    def add(self, split: Split, row: StoredRow) -> None:
        """Write a row behind those of its split."""
        self._note(split)
        self._written[split] += self._rows[split].write(row.line)

    def end(self) -> None:
        """Note where the last rows end."""
        for split in SPLITS:
            self._note(split)

    def _note(self, split: Split) -> None:
        self._at[split].write(self._written[split].to_bytes(8, sys.byteorder))


def _rows(folder: Path, split: Split) -> Path:
    return folder / f"{split}.rows"


def _places(folder: Path, split: Split) -> Path:
    return folder / f"{split}.places"


def stored_hashes(folder: Path, split: Split) -> Iterator[str]:
    """The content hash of each row of a split, in order."""
    return (row.content_hash.decode() for row in _stored(folder, split))


def _stored(folder: Path, split: Split) -> Iterator[StoredRow]:
    count = _places(folder, split).stat().st_size // 8 - 1
    with _rows(folder, split).open("rb") as file:
        yield from told(map(StoredRow, file), f"going through the rows of {split}", count)


def stored_examples(folder: Path, split: Split) -> Stored[Example]:
    """The examples of a split, each read when it is asked for."""
    opened = Opened(os.open(_rows(folder, split), os.O_RDONLY | os.O_CLOEXEC))
    with _places(folder, split).open("rb") as file:
        places = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")

    def at(place: int) -> Example:
        return StoredRow(opened.read(places[place], places[place + 1])).example()

    return Stored(len(places) - 1, at, lambda: (row.example() for row in _stored(folder, split)))


Place = Callable[[StoredRow], Split]
"""Gives the split of a row."""


def places(
    sorter: Sorter, shares: Callable[[int], Mapping[Split, float]], seed: int, classes: bool
) -> Place:
    """Where ``carve`` puts each row, by hashes of eight bytes.

    Args:
        shares: Gives the share of each split that is taken out of so many rows of train.
        classes: Rows have labels, and each class is divided by itself.
    """

    def placed(row: StoredRow) -> int:
        return int(digest(f"{seed}:{row.key}")[:16], 16)

    hashes: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    labels: dict[str, str] = {}
    rows = 0
    for group in told(sorter.groups(), "dividing into splits", len(sorter)):
        members = [row for row in group if row.split == "train"]
        if not members:
            continue
        rows += len(members)
        name = class_of(row.example().label for row in members) if classes else ""
        hashes[name].append(placed(members[0]))
        if classes and len(members) > 1:
            labels[members[0].key] = name
    taken = shares(rows)
    limits: dict[str, list[tuple[int, Split]]] = {}
    for name, found in hashes.items():
        sizes = class_sizes(len(found), taken)
        ends = list(accumulate(sizes[split] for split in taken))
        smallest = nsmallest(ends[-1] if ends else 0, found)
        limits[name] = [
            (smallest[end - 1], split)
            for end, split in zip(ends, taken, strict=True)
            if sizes[split]
        ]

    def place(row: StoredRow) -> Split:
        if row.split != "train":
            return row.split
        name = labels.get(row.key) or row.example().label or "" if classes else ""
        mine = placed(row)
        return next((split for limit, split in limits[name] if mine <= limit), "train")

    return place


def write_splits(sorter: Sorter, folder: Path, place: Place) -> Repeated:
    """Write every row into its split."""
    found = Repeated()
    with SplitWriter(folder) as writer:
        for group in told(sorter.groups(), "writing splits", len(sorter)):
            splits = [place(row) for row in group]
            for split, row in zip(splits, group, strict=True):
                writer.add(split, row)
            hashes, answers = (r.content_hash for r in group), (r.example().answer for r in group)
            found.add(splits, hashes, answers)
        writer.end()
    return found
