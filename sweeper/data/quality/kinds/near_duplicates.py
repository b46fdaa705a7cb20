"""Rows that nearly repeat an earlier one."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows
from sweeper.data.quality.similar import near_earlier, why_not


class NearDuplicates(Kind):
    """Rows of the same split whose texts differ in a few characters."""

    name = "near-duplicates"
    order = 62
    title = "nearly repeat an earlier row of the same split"
    consequence = "They add little, get more weight than others, and are memorised sooner."
    remedy = "keeps the first of them"
    severity = "note"

    def missing(self, data: DataRows) -> str:
        """It needs rensa."""
        return why_not()

    def find(self, data: DataRows) -> list[Fault]:
        """Rows that are like an earlier one with the same label, but not equal to it."""
        return [
            Fault(place, f"like line {data.rows[other].line}")
            for place, other in near_earlier(data)
        ]
