"""Rows that repeat others, nearly or exactly, in one split, in several, or in an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.data.examples import SPLITS, Example, normalised
from sweeper.data.rows import FileRow
from sweeper.data.similar import (
    duplicates_across_splits,
    duplicates_in_split,
    reason_not_available,
    windows,
)
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Fault, FaultKind


class Duplicates(FaultKind):
    """The same input with the same answer in the same split, apart from case and white space."""

    name = "duplicates"
    order = 60
    title = "repeat an earlier row of the same split"
    consequence = "They get more weight than others in training, and are memorised sooner."
    remedy = "keep the first of them"
    safe = True
    needs = "same input"

    def find(self, data: CheckedRows) -> list[Fault]:
        line_by_key: dict[tuple[str, str, str], int] = {}
        faults = []
        for index, row, example in data.usable:
            key = (row.split, example.key, row.label or normalised(row.written))
            if key in line_by_key:
                faults.append(Fault(index, f"as line {line_by_key[key]}"))
            else:
                line_by_key[key] = row.line
        return faults


class NearDuplicates(FaultKind):
    """Rows whose text differs in a few characters from an earlier row of the same split."""

    name = "near-duplicates"
    order = 62
    title = "nearly repeat an earlier row of the same split"
    consequence = "They add little, get more weight than others, and are memorised sooner."
    remedy = "keep the first of them"
    severity = "note"

    def why_unchecked(self, data: CheckedRows) -> str:
        return reason_not_available()

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows that are like an earlier row with the same label, but not equal to it."""
        return [
            Fault(index, f"like line {data.rows[other].line}")
            for index, other in duplicates_in_split(data)
        ]


class Leakage(FaultKind):
    """Rows of train or validation whose input is also in a later split."""

    name = "leakage"
    order = 70
    title = "have the same input as a row of validation or test"
    consequence = "Scores are too good: the model has seen the answers."
    remedy = "leave them out of train (and of validation, if test has them); test does not change"
    severity = "serious"
    safe = True
    needs = "same input"

    def find(self, data: CheckedRows) -> list[Fault]:
        last_split: dict[str, tuple[int, int]] = {}
        for _, row, example in data.usable:
            rank = SPLITS.index(row.split)
            if rank >= last_split.get(example.key, (0, 0))[0]:
                last_split[example.key] = (rank, row.line)
        return [
            Fault(
                index,
                f"as line {last_split[example.key][1]} of {SPLITS[last_split[example.key][0]]}",
            )
            for index, row, example in data.usable
            if SPLITS.index(row.split) < last_split[example.key][0]
        ]


class NearLeakage(FaultKind):
    """Rows whose input differs in a few characters from one of a later split."""

    name = "near-leakage"
    order = 72
    title = "are nearly the same as a row of validation or test"
    consequence = "Scores are too good: the model has seen nearly the same row with its answer."
    remedy = "leave them out of train (and of validation, if test has them); test does not change"

    def why_unchecked(self, data: CheckedRows) -> str:
        return reason_not_available()

    def find(self, data: CheckedRows) -> list[Fault]:
        return [
            Fault(index, f"like line {data.rows[other].line} of {data.rows[other].split}")
            for index, other in sorted(duplicates_across_splits(data))
        ]


class EvaluationSets(FaultKind):
    """Rows that are in an evaluation set, or share a run of 13 words with one of its rows."""

    name = "evaluation-sets"
    order = 74
    title = "are in the evaluation set, or quote it"
    consequence = "Its scores become meaningless, since the model has read the questions."
    remedy = "leave them out"
    severity = "serious"
    needs = "single rows"

    def why_unchecked(self, data: CheckedRows) -> str:
        return "" if data.against else "give the evaluation set with --against FILE"

    def find(self, data: CheckedRows) -> list[Fault]:
        line_by_mark = {
            mark: row.line
            for row in data.against
            if row.example is not None
            for mark in _marks(row, row.example)
        }
        faults = []
        for index, row, example in data.usable:
            marks = (mark for mark in _marks(row, example) if mark in line_by_mark)
            if (mark := next(marks, None)) is not None:
                faults.append(Fault(index, f"as line {line_by_mark[mark]} of the evaluation set"))
        return faults


def _marks(row: FileRow, example: Example) -> Iterator[object]:
    """The key of a row, then its runs of 13 words: equal ones are repeated or quoted text."""
    yield example.key
    yield from windows(f"{row.input}\n{row.written}")
