"""Rows that repeat an earlier one."""

from __future__ import annotations

from sweeper.data.examples import normalised
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


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
