"""Examples of large files, in a folder: put in the order of their keys without holding them.

Rows are divided by the first byte of their key, which is a hash: each part is small enough to be
sorted in memory, and one part after the other gives all rows in order. An example is one line, its
key, content hash, split and line number in front of its content.
"""

from __future__ import annotations

import json
import mmap
import shutil
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from sweeper.data.contents import Opened
from sweeper.data.examples import SPLITS, Example, Message, Split
from sweeper.data.labels import LabelChanges
from sweeper.data.table import Stored
from sweeper.jsontext import value_of

_PARTS = 256
"""At most 256: 40 MB of rows each in a file of 10 GB."""

_KEY = 32
"""Characters of a key and of a content hash."""


class StoredRow:
    """The line of one example; what is in front of its content is read without parsing it."""

    __slots__ = ("line",)

    def __init__(self, line: bytes) -> None:
        self.line = line

    @classmethod
    def of(cls, split: Split, example: Example) -> StoredRow:
        """The row of an example."""
        turns = [(turn.role, turn.content) for turn in example.messages]
        rest = (example.references, example.tests, example.templated)
        content = json.dumps((example.label, example.text, turns, *rest))
        head = f"{example.key}{example.content_hash()}{SPLITS.index(split)}{example.line:012}"
        return cls(f"{head}{content}\n".encode())

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
        """The example itself."""
        at = 2 * _KEY + 1
        label, text, turns, references, tests, templated = value_of(self.line[at + 12 :].decode())
        return Example(
            key=self.key,
            line=int(self.line[at : at + 12]),
            text=text,
            label=label,
            messages=tuple(Message(role, content) for role, content in turns),
            templated=templated,
            references=tuple(references),
            tests=tuple(tests),
        )


def changed(row: StoredRow, labels: LabelChanges) -> StoredRow | None:
    """The row with its new label; None where it has none any more."""
    example = row.example()
    label = labels.get((row.split, example.label or ""), example.label)
    if label == example.label:
        return row
    return StoredRow.of(row.split, replace(example, label=label)) if label else None


class Sorter(ExitStack):
    """Rows in the order of their keys.

    Args:
        folder: For its files, which are removed when the work is done.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        self._folder = folder
        self.callback(shutil.rmtree, folder)
        self._files = [
            self.enter_context((folder / f"{part:02x}").open("wb")) for part in range(_PARTS)
        ]

    def add(self, split: Split, example: Example) -> None:
        """Take a row in."""
        self._files[int(example.key[:2], 16) * _PARTS // 256].write(
            StoredRow.of(split, example).line
        )

    def sort(self, change: Callable[[StoredRow], StoredRow | None]) -> None:
        """End adding; ``change`` gives what becomes of a row, None where it is left out."""
        for written in self._files:
            written.close()
        for part in range(_PARTS):
            path = self._folder / f"{part:02x}"
            with path.open("rb") as file:
                rows = [new.line for line in file if (new := change(StoredRow(line)))]
            rows.sort()
            path.write_bytes(b"".join(rows))

    def groups(self) -> Iterator[list[StoredRow]]:
        """The rows of each input, in order."""
        for part in range(_PARTS):
            with (self._folder / f"{part:02x}").open("rb") as file:
                rows = map(StoredRow, file)
                for _, group in groupby(rows, key=lambda row: row.line[:_KEY]):
                    yield list(group)


class SplitWriter(ExitStack):
    """Writes the rows of the splits, each into a file of its own, with the places of the rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._rows = {s: self.enter_context(_rows(folder, s).open("wb")) for s in SPLITS}
        self._at = {s: self.enter_context(_places(folder, s).open("wb")) for s in SPLITS}

    def add(self, split: Split, row: StoredRow) -> None:
        """Write a row behind those of its split."""
        array("Q", [self._rows[split].tell()]).tofile(self._at[split])
        self._rows[split].write(row.line)

    def end(self) -> None:
        """Note where the last rows end."""
        for split in SPLITS:
            array("Q", [self._rows[split].tell()]).tofile(self._at[split])


def _rows(folder: Path, split: Split) -> Path:
    return folder / f"{split}.rows"


def _places(folder: Path, split: Split) -> Path:
    return folder / f"{split}.places"


def stored_rows(folder: Path, split: Split) -> Iterator[StoredRow]:
    """The rows of a split, in order."""
    with _rows(folder, split).open("rb") as file:
        yield from map(StoredRow, file)


def stored_examples(folder: Path, split: Split) -> Stored[Example]:
    """The examples of a split, each read when it is asked for."""
    opened = Opened(_rows(folder, split))
    with _places(folder, split).open("rb") as file:
        places = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")

    def at(place: int) -> Example:
        return StoredRow(opened.read(places[place], places[place + 1])).example()

    return Stored(
        len(places) - 1, at, lambda: (row.example() for row in stored_rows(folder, split))
    )
