"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sweeper.data.examples import SPLITS, Example, normalised
from sweeper.data.quality.rows import DataRows, FileRow
from sweeper.extras import install_command, is_installed
from sweeper.progress import told

NEAR = 0.7
"""Jaccard similarity from which on two texts are near duplicates. One word of a row was changed,
dropped or added, or two letters swapped: 95% of such pairs are found in banking77, 94% in snips7,
all in GSM8K (1,500 rows each, shingles of three characters). With 0.8, as Lee et al. (2022,
arXiv:2107.06499) take for documents,
81% and 79% are. The price is that short questions which differ in one word are found, too, so that
no remedy for near duplicates counts as safe."""

LONG = 100
"""Characters from which on a text is long. Long texts share many short shingles whatever they say:
rows would be compared with thousands of others."""

SHINGLE, SHINGLE_OF_LONG = 3, 5
"""Characters of a shingle. Longer ones lose short texts: five find 84% of the pairs in snips7."""

_HASHES, _BANDS = 128, 32
"""A pair with a similarity of 0.7 is looked at with over 99.9% (1 - (1 - s^4)^32)."""

MOST_ROWS = 200_000
"""Rows that are compared: the first so many."""

_LEAST_CHARACTERS = 12
"""Shorter texts differ too little to tell a repetition from another question."""

_OTHER = re.compile(r"\W+")
_NUMBER = re.compile(r"\d+")


def why_not() -> str:
    """Why similar rows cannot be looked for; empty if they can."""
    return "" if is_installed("rensa") else f"it needs rensa: {install_command('data')}"


def near_earlier(data: DataRows) -> Iterator[tuple[int, int]]:
    """Places of rows with that of an earlier row of the same split that is nearly the same."""
    index = _Index()
    rows = data.usable[:MOST_ROWS]
    for place, row, example in told(rows, "looking for near duplicates", len(rows)):
        entry = _Entry.of(row, example, f"{row.input} {row.written}")
        if entry is None:
            continue
        other = index.first_like(entry, _same_place)
        # Nothing is compared with a row that repeats another: else a chain of small steps from one
        # question to the next would be left out as a whole.
        if other is None:
            index.add(place, entry)
        elif index.entries[other].key != entry.key:
            yield place, other


def near_later(data: DataRows) -> Iterator[tuple[int, int]]:
    """Places of rows with that of a row of a later split whose input is nearly the same."""
    index = _Index()
    by_split = sorted(data.usable[:MOST_ROWS], key=lambda one: -SPLITS.index(one[1].split))
    for place, row, example in told(by_split, "comparing splits", len(by_split)):
        entry = _Entry.of(row, example, row.input)
        if entry is None:
            continue
        other = index.first_like(entry, _other_place)
        if other is not None:
            yield place, other
        if row.split != SPLITS[0]:
            index.add(place, entry)


@dataclass(frozen=True, slots=True)
class _Entry:
    row: FileRow
    key: str
    text: str
    sketch: Any

    @classmethod
    def of(cls, row: FileRow, example: Example, text: str) -> _Entry | None:
        """The entry of a row; None if its text is too short."""
        # Here, since it is optional.
        from rensa import RMinHash

        text = _OTHER.sub(" ", normalised(text)).strip()
        if len(text) < _LEAST_CHARACTERS:
            return None
        sketch = RMinHash(_HASHES, 0)
        sketch.update(sorted(_shingles(text)))
        return cls(row, example.key, text, sketch)

    def like(self, other: _Entry) -> bool:
        """Whether the texts are alike. With another number, the same words ask another question."""
        if _NUMBER.findall(self.text) != _NUMBER.findall(other.text):
            return False
        # Made again for each pair: kept, the check of 12,000 rows took 737 MB instead of 118.
        first, second = _shingles(self.text), _shingles(other.text)
        shared = len(first & second)
        return shared >= NEAR * (len(first) + len(second) - shared)


def _shingles(text: str) -> set[str]:
    size = SHINGLE if len(text) < LONG else SHINGLE_OF_LONG
    return {text[i : i + size] for i in range(len(text) - size + 1)}


class _Index:
    """Entries by their sketches."""

    def __init__(self) -> None:
        from rensa import RMinHashLSH

        self._bands = RMinHashLSH(NEAR, _HASHES, _BANDS)
        self.entries: dict[int, _Entry] = {}

    def add(self, place: int, entry: _Entry) -> None:
        self.entries[place] = entry
        self._bands.insert(place, entry.sketch)

    def first_like(self, entry: _Entry, comparable: Callable[[_Entry, _Entry], bool]) -> int | None:
        """The place of the first entry that is like this one."""
        return next(
            (
                place
                for place in sorted(self._bands.query(entry.sketch))
                if comparable(one := self.entries[place], entry) and entry.like(one)
            ),
            None,
        )


def _same_place(one: _Entry, other: _Entry) -> bool:
    return one.row.split == other.row.split and one.row.label == other.row.label


def _other_place(one: _Entry, other: _Entry) -> bool:
    return one.row.split != other.row.split and one.key != other.key
