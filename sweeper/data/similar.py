"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sweeper.data.examples import SPLITS, Example
from sweeper.data.near import NearTexts, Sketched
from sweeper.data.progress import told
from sweeper.data.rows import DataRows, FileRow
from sweeper.extras import install_command, is_installed

MOST_ROWS = 200_000
"""Rows that are compared: the first so many."""

_Row = tuple[int, FileRow, Example]


def why_not() -> str:
    """Why similar rows cannot be checked; empty if they can."""
    return "" if is_installed("rensa") else f"it needs rensa: {install_command('data')}"


def near_earlier(data: DataRows) -> Iterator[tuple[int, int]]:
    """Places of rows with that of an earlier row of the same split that is nearly the same."""
    known = NearTexts[_Row]()
    rows = data.usable[:MOST_ROWS]
    for one in told(rows, "looking for near duplicates", len(rows)):
        place, row, example = one
        if (text := Sketched.of(f"{row.input} {row.written}")) is None:
            continue
        found = next(known.like(text, partial(_same_place, one)), None)
        # Nothing is compared with a row that repeats another: else a chain of small steps from one
        # question to the next would be left out as a whole.
        if found is None:
            known.add(one, text)
        elif found[2].key != example.key:
            yield place, found[0]


def near_later(data: DataRows) -> Iterator[tuple[int, int]]:
    """Places of rows with that of a row of a later split whose input is nearly the same."""
    known = NearTexts[_Row]()
    by_split = sorted(data.usable[:MOST_ROWS], key=lambda one: -SPLITS.index(one[1].split))
    for one in told(by_split, "comparing splits", len(by_split)):
        place, row, _ = one
        if (text := Sketched.of(row.input)) is None:
            continue
        if (found := next(known.like(text, partial(_other_place, one)), None)) is not None:
            yield place, found[0]
        if row.split != SPLITS[0]:
            known.add(one, text)


def _same_place(one: _Row, other: _Row) -> bool:
    return one[1].split == other[1].split and one[1].label == other[1].label


def _other_place(one: _Row, other: _Row) -> bool:
    return one[1].split != other[1].split and one[2].key != other[2].key
