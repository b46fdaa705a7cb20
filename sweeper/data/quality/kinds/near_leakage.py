"""Rows of one split that are nearly in another."""

from __future__ import annotations

from sweeper.data.examples import SPLITS
from sweeper.data.quality.kind import Fault, Kind
from sweeper.data.quality.rows import DataRows
from sweeper.data.quality.similar import near_earlier, why_not


class NearLeakage(Kind):
    """Rows that differ in a few characters from a row of a later split."""

    name = "near-leakage"
    order = 72
    title = "are nearly a row of validation or test"
    consequence = "Scores are too good: the model has seen nearly the same row with its answer."
    remedy = "leaves them out of train (of validation, where test has them); test stays as it is"

    def missing(self, data: DataRows) -> str:
        """It needs rensa."""
        return why_not()

    def find(self, data: DataRows) -> list[Fault]:
        """The rows of the earlier split."""
        found: dict[int, str] = {}
        for pair in near_earlier(data, across=True):
            low, high = sorted(pair, key=lambda place: SPLITS.index(data.rows[place].split))
            row, other = data.rows[low], data.rows[high]
            if row.split != other.split:
                found.setdefault(low, f"like line {other.line} of {other.split}")
        return [Fault(place, said) for place, said in sorted(found.items())]
