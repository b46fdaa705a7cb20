"""Rows that repeat an earlier one, or nearly do."""

from __future__ import annotations

from sweeper.data.examples import normalised
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.similar import near_earlier, why_not
from sweeper.data.rows import DataRows


class Duplicates(Kind):
    """The same input with the same answer in the same split, apart from case and white space."""

    name = "duplicates"
    order = 60
    title = "repeat an earlier row of the same split"
    consequence = "They get more weight than others in training, and are memorised sooner."
    remedy = "keeps the first of them"
    safe = True
    compares = "inputs"

    def find(self, data: DataRows) -> list[Fault]:
        """All but the first."""
        seen: dict[tuple[str, str, str], int] = {}
        found = []
        for place, row, example in data.usable:
            key = (row.split, example.key, row.label or normalised(row.written))
            if key in seen:
                found.append(Fault(place, f"as line {seen[key]}"))
            else:
                seen[key] = row.line
        return found


class NearDuplicates(Kind):
    """Rows of the same split whose texts differ in a few characters."""

    name = "near-duplicates"
    order = 62
    title = "nearly repeat an earlier row of the same split"
    consequence = "They add little, get more weight than others, and are memorised sooner."
    remedy = "keeps the first of them"
    severity = "note"

    def missing(self, data: DataRows) -> str:
        return why_not()

    def find(self, data: DataRows) -> list[Fault]:
        """Rows that are like an earlier one with the same label, but not equal to it."""
        return [
            Fault(place, f"like line {data.rows[other].line}")
            for place, other in near_earlier(data)
        ]
