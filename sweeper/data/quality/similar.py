"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sweeper.data.examples import SPLITS, Example
from sweeper.data.near import alike, bands, comparable, sketch
from sweeper.data.quality.rows import DataRows, FileRow
from sweeper.extras import install_command, is_installed
from sweeper.progress import told

MOST_ROWS = 200_000
"""Rows that are compared: the first so many."""


def why_not() -> str:
    """Why similar rows cannot be checked; empty if they can."""
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
        text = comparable(text)
        return cls(row, example.key, text, sketch(text)) if text else None

    def like(self, other: _Entry) -> bool:
        """Whether the texts are alike."""
        return alike(self.text, other.text)


class _Index:
    """Entries by their sketches."""

    def __init__(self) -> None:
        self._bands = bands()
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
