"""Rows of one split that are in another."""

from __future__ import annotations

from sweeper.data.examples import SPLITS
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


class Leakage(Kind):
    """Inputs of validation or test that are also in train, or of test in validation."""

    name = "leakage"
    order = 70
    title = "have the same input as a row of validation or test"
    consequence = "Scores are too good: the model has seen the answers."
    remedy = "leaves them out of train (and of validation, if test has them); test does not change"
    severity = "serious"
    safe = True
    compares = "inputs"

    def find(self, data: DataRows) -> list[Fault]:
        """The rows of the earlier split."""
        held: dict[str, tuple[int, int]] = {}
        for _, row, example in data.usable:
            rank = SPLITS.index(row.split)
            if rank >= held.get(example.key, (0, 0))[0]:
                held[example.key] = (rank, row.line)
        return [
            Fault(place, f"as line {held[example.key][1]} of {SPLITS[held[example.key][0]]}")
            for place, row, example in data.usable
            if SPLITS.index(row.split) < held[example.key][0]
        ]
