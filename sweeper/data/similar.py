"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sweeper.data.examples import SPLITS, Example
from sweeper.data.near import NearTexts, SketchedText
from sweeper.data.progress_lines import with_progress
from sweeper.data.rows import DataRows, FileRow
from sweeper.packages import install_command, is_installed

MAX_ROWS = 200_000
"""Only this many rows, the first ones, are compared."""

_Row = tuple[int, FileRow, Example]


def reason_not_available() -> str:
    """Why similar rows cannot be checked; empty if they can."""
    return "" if is_installed("rensa") else f"it needs rensa: {install_command('data')}"


def duplicates_in_split(data: DataRows) -> Iterator[tuple[int, int]]:
    """Pairs of indices: a row, and an earlier row of its split that is nearly the same."""
    seen_texts = NearTexts[_Row]()
    rows = data.usable[:MAX_ROWS]
    for entry in with_progress(rows, "looking for near duplicates", len(rows)):
        index, row, example = entry
        if (text := SketchedText.of(f"{row.input} {row.written}")) is None:
            continue
        match = next(seen_texts.similar_to(text, partial(_same_split_and_label, entry)), None)
        # A row that has a match is not added: in a chain A, B, C of small changes, C is compared
        # with A only, and may stay.
        if match is None:
            seen_texts.add(entry, text)
        elif match[2].key != example.key:
            yield index, match[0]


def duplicates_across_splits(data: DataRows) -> Iterator[tuple[int, int]]:
    """Pairs of indices: a row, and a row of a later split with nearly the same input."""
    seen_texts = NearTexts[_Row]()
    rows_by_split = sorted(data.usable[:MAX_ROWS], key=lambda entry: -SPLITS.index(entry[1].split))
    for entry in with_progress(rows_by_split, "comparing splits", len(rows_by_split)):
        index, row, _ = entry
        if (text := SketchedText.of(row.input)) is None:
            continue
        if (
            match := next(seen_texts.similar_to(text, partial(_other_split_and_input, entry)), None)
        ) is not None:
            yield index, match[0]
        if row.split != SPLITS[0]:
            seen_texts.add(entry, text)


def _same_split_and_label(first: _Row, second: _Row) -> bool:
    return first[1].split == second[1].split and first[1].label == second[1].label


def _other_split_and_input(first: _Row, second: _Row) -> bool:
    return first[1].split != second[1].split and first[2].key != second[2].key
