"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sweeper.data.examples import SPLITS, Example
from sweeper.data.near import NearTexts, Sketched
from sweeper.data.progress_lines import with_progress
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
    earlier = NearTexts[_Row]()
    rows = data.usable[:MOST_ROWS]
    for usable in with_progress(rows, "looking for near duplicates", len(rows)):
        index, row, example = usable
        if (text := Sketched.of(f"{row.input} {row.written}")) is None:
            continue
        match = next(earlier.like(text, partial(_same_place, usable)), None)
        # Nothing is compared with a row that repeats another: else a chain of small steps from one
        # question to the next would be left out as a whole.
        if match is None:
            earlier.add(usable, text)
        elif match[2].key != example.key:
            yield index, match[0]


def near_later(data: DataRows) -> Iterator[tuple[int, int]]:
    """Places of rows with that of a row of a later split whose input is nearly the same."""
    earlier = NearTexts[_Row]()
    by_split = sorted(data.usable[:MOST_ROWS], key=lambda usable: -SPLITS.index(usable[1].split))
    for usable in with_progress(by_split, "comparing splits", len(by_split)):
        index, row, _ = usable
        if (text := Sketched.of(row.input)) is None:
            continue
        if (match := next(earlier.like(text, partial(_other_place, usable)), None)) is not None:
            yield index, match[0]
        if row.split != SPLITS[0]:
            earlier.add(usable, text)


def _same_place(first: _Row, second: _Row) -> bool:
    return first[1].split == second[1].split and first[1].label == second[1].label


def _other_place(first: _Row, second: _Row) -> bool:
    return first[1].split != second[1].split and first[2].key != second[2].key
