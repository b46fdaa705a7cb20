"""Kinds of faults that are mended by writing other labels."""

from __future__ import annotations

from abc import abstractmethod

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow


class RenamedLabels(Kind):
    """Rows with a label that stands for another one. A subclass writes ``renamed``."""

    verb = "is"

    @abstractmethod
    def renamed(self, data: DataRows) -> dict[str, str]:
        """From a label to the one that it stands for."""

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with such a label."""
        renamed = self.renamed(data)
        return [
            Fault(place, f"{row.label!r} {self.verb} {renamed[row.label]!r}")
            for place, row, _ in data.usable
            if row.label in renamed
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """The rows with the label that theirs stands for, where that is known."""
        renamed = self.renamed(data)
        rows = {fault.place: data.rows[fault.place] for fault in faults}
        return {
            place: data.with_label(row, renamed[row.label])
            for place, row in rows.items()
            if row.label in renamed
        }
