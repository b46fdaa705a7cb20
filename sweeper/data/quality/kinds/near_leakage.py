"""Rows of one split that are nearly in another."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows
from sweeper.data.quality.similar import near_later, why_not


class NearLeakage(Kind):
    """Rows that differ in a few characters from a row of a later split."""

    name = "near-leakage"
    order = 72
    title = "are nearly the same as a row of validation or test"
    consequence = "Scores are too good: the model has seen nearly the same row with its answer."
    remedy = "leaves them out of train (and of validation, if test has them); test does not change"

    def missing(self, data: DataRows) -> str:
        """It needs rensa."""
        return why_not()

    def find(self, data: DataRows) -> list[Fault]:
        """The rows of the earlier split."""
        return [
            Fault(place, f"like line {data.rows[other].line} of {data.rows[other].split}")
            for place, other in sorted(near_later(data))
        ]
