"""Rare labels that look like a mistyped common one."""

from __future__ import annotations

import difflib
from collections import Counter

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.renamed import RenamedLabels
from sweeper.data.quality.rows import DataRows

SIMILAR = 0.8
"""Two letters of ten may differ; of longer labels, two letters."""

TIMES_COMMONER = 4
"""A label that is nearly as common as the one it looks like is a class of its own."""


class MisspeltLabels(RenamedLabels):
    """Labels with few rows that differ in a letter or two from one with many."""

    name = "misspelt-labels"
    order = 28
    title = "have a rare label that looks like a mistyped common one"
    consequence = "Each mistyped label becomes a class of its own, which cannot be learnt."
    remedy = "writes the common label"
    in_plan = True
    verb = "may be"
    compares = "labels"

    def renamed(self, data: DataRows) -> dict[str, str]:
        """Rare labels to the common ones that they look like."""
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
    cutoff = max(SIMILAR, 1 - 2 / len(label))
    return difflib.get_close_matches(label, common, n=1, cutoff=cutoff)
