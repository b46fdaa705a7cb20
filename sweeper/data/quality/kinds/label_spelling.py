"""Labels that are written in several ways, or mistyped."""

from __future__ import annotations

import difflib
import re
from abc import abstractmethod
from collections import Counter, defaultdict

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows, FileRow


class RenamedLabels(Kind):
    """Rows with a label that stands for another one. A subclass writes ``renamed``."""

    verb = "is"

    @abstractmethod
    def renamed(self, data: DataRows) -> dict[str, str]:
        """From a label to the one that it stands for."""

    def find(self, data: DataRows) -> list[Fault]:
        renamed = self.renamed(data)
        return [
            Fault(place, f"{row.label!r} {self.verb} {renamed[row.label]!r}")
            for place, row, _ in data.usable
            if row.label in renamed
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        renamed = self.renamed(data)
        rows = {fault.place: data.rows[fault.place] for fault in faults}
        return {
            place: data.with_label(row, renamed[row.label])
            for place, row in rows.items()
            if row.label in renamed
        }


class LabelVariants(RenamedLabels):
    """Labels that differ from a commoner one in case, white space, hyphens or underscores alone."""

    name = "label-variants"
    order = 26
    title = "spell a label differently from most rows"
    consequence = "One class becomes two, and each has fewer rows."
    remedy = "writes the most common spelling"
    severity = "serious"
    safe = True
    in_plan = True
    compares = "labels"

    def renamed(self, data: DataRows) -> dict[str, str]:
        counts = Counter(row.label for _, row, _ in data.usable if row.label)
        alike: dict[str, list[str]] = defaultdict(list)
        for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            alike[folded(label)].append(label)
        return {rare: same[0] for same in alike.values() for rare in same[1:]}


SIMILAR = 0.8
"""Two letters of ten may differ; of longer labels, two letters."""

TIMES_COMMONER = {1: 2, 2: 4}
"""By letters that differ: how many times commoner the label is that another one looks like. One
that is nearly as common is a class of its own. In 400 rows of banking77 (77 labels) with 20 labels
that lack a letter, 98% are found; where 4 times is asked of one letter, too, 79%."""


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
        counts = Counter(row.label for _, row, _ in data.usable if row.label)
        found: dict[str, str] = {}
        if not counts or len(counts) > counts.total() / 2:
            return found
        most = max(counts.values())
        for label, rows in counts.items():
            for letters, times in TIMES_COMMONER.items():
                # Labels of two letters or fewer (`a`, `b`) look all alike.
                if label in found or len(label) < 3 or rows * times > most:
                    continue
                common = [
                    other
                    for other, many in counts.items()
                    if many >= times * rows and _letters(other) != _letters(label)
                ]
                cutoff = max(SIMILAR, 1 - letters / len(label))
                close = difflib.get_close_matches(label, common, n=1, cutoff=cutoff)
                found |= dict.fromkeys([label] if close else [], *close)
        return found


def _letters(label: str) -> str:
    """A label without numbers, which tell classes apart (`level 1`, `level 2`)."""
    return re.sub(r"\d", "", folded(label))
