"""Labels with too few rows."""

from __future__ import annotations

from collections import defaultdict

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows

FEWEST = 3
"""Inputs of a class that training, validation and test need between them."""


class RareLabels(Kind):
    """Classes with fewer than three different inputs."""

    name = "rare-labels"
    order = 66
    title = "have a label with fewer than three different inputs"
    consequence = (
        "Such a class cannot be in train, validation and test at once: it is hardly learnt, or "
        "not checked."
    )
    remedy = "leaves them out; if the class matters, add rows or merge labels"
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        inputs: dict[str, set[str]] = defaultdict(set)
        for _, row, example in data.usable:
            if len(inputs[row.label]) < FEWEST:
                inputs[row.label].add(example.key)
        return [
            Fault(place, f"{row.label!r} has {len(inputs[row.label])}")
            for place, row, _ in data.usable
            if row.label and len(inputs[row.label]) < FEWEST
        ]
