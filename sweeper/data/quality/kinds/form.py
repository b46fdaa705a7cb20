"""Rows that do not have the form of the others."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


class OtherForm(Kind):
    """Rows that can be read but not be trained on."""

    name = "form"
    order = 5
    title = "have no input and answer that can be recognised"
    consequence = "They are left out of training: no input and answer is recognised in them."
    remedy = "leaves them out"
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows without an example that are not just empty."""
        return [
            Fault(place, row.reason)
            for place, row in enumerate(data.rows)
            if row.readable and row.example is None and not row.empty
        ]
