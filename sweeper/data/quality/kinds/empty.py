"""Rows without text or answer."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


class EmptyRows(Kind):
    """Nothing, or nothing but white space, where the input or the answer should be."""

    name = "empty"
    order = 30
    title = "have no text or no answer"
    consequence = "They are left out of training. Many of them mean that an export went wrong."
    remedy = "leaves them out"
    safe = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows in which a required column is empty."""
        return [Fault(place) for place, row in enumerate(data.rows) if row.empty]
