"""Rare labels that look like a mistyped common one."""

from __future__ import annotations

import difflib
from collections import Counter

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow

SIMILAR = 0.8
"""Two letters of ten may differ."""

TIMES_COMMONER = 10
"""A label that is nearly as common as the one it looks like is a class of its own."""


class MisspeltLabels(Kind):
    """Labels with few rows that differ in a letter or two from one with many."""

    name = "misspelt-labels"
    order = 28
    title = "have a rare label that looks like a mistyped common one"
    consequence = "Each mistyped label becomes a class of its own that cannot be learnt."
    remedy = "writes the common label"
    in_plan = True
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with such a label."""
        mapping = _mapping(data)
        return [
            Fault(place, f"{row.label!r} may be {mapping[row.label]!r}")
            for place, row, _ in data.usable
            if row.label in mapping
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """The rows with the common label."""
        mapping = _mapping(data)
        rows = {fault.place: data.rows[fault.place] for fault in faults}
        return {place: data.with_label(row, mapping[row.label]) for place, row in rows.items()}


def _mapping(data: DataRows) -> dict[str, str]:
    counts = Counter(row.label for _, row, _ in data.usable if row.label)
    found: dict[str, str] = {}
    if not counts or len(counts) > counts.total() / 2:
        return found
    most = max(counts.values())
    for label, rows in counts.items():
        if rows * TIMES_COMMONER > most or label.lstrip("-").isdigit():
            continue
        common = [
            other
            for other, many in counts.items()
            if many >= TIMES_COMMONER * rows and folded(other) != folded(label)
        ]
        found |= {label: match[0]} if (match := _close(label, common)) else {}
    return found


def _close(label: str, common: list[str]) -> list[str]:
    """Labels of two letters or fewer (`a`, `b`) look all alike."""
    if len(label) < 3:
        return []
    return difflib.get_close_matches(label, common, n=1, cutoff=SIMILAR)
