"""Splits whose labels are not those of train."""

from __future__ import annotations

from collections import Counter, defaultdict

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.base import Fault
from sweeper.data.quality.kinds.renamed import RenamedLabels
from sweeper.data.quality.rows import DataRows

AGREE = 0.9
"""Share of the inputs that two codes have in common which must agree before one is taken for the
other."""


class LabelSets(RenamedLabels):
    """Labels of validation or test that train does not have, such as numbers in place of names."""

    name = "label-sets"
    order = 64
    title = "are in validation or test and have a label that train does not have"
    consequence = "A class without training rows cannot be learnt, so every such row is wrong."
    remedy = (
        "writes the label that train gives to the same inputs; other rows stay, and training "
        "leaves them out"
    )
    severity = "serious"
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with such a label, and what it stands for where inputs of both splits tell."""
        mapping = self.renamed(data)
        known = _folded_labels(data)
        return [
            Fault(
                place,
                f"{row.label!r} is {mapping[row.label]!r} in train"
                if row.label in mapping
                else f"{row.label!r}",
            )
            for place, row, _ in data.usable
            if row.label and row.split != "train" and folded(row.label) not in known
        ]

    def renamed(self, data: DataRows) -> dict[str, str]:
        """From a label that train does not have to what train says of the same inputs."""
        known = {row.label for _, row, _ in data.usable if row.split == "train"}
        asked = {example.key for _, row, example in data.usable if row.label not in known}
        trained = {
            example.key: row.label
            for _, row, example in data.usable
            if row.split == "train" and example.key in asked
        }
        meant: dict[str, Counter[str]] = defaultdict(Counter)
        for _, row, example in data.usable:
            if row.label not in known and example.key in trained:
                meant[row.label][trained[example.key]] += 1
        return {
            label: counts.most_common(1)[0][0]
            for label, counts in meant.items()
            if counts.most_common(1)[0][1] >= AGREE * counts.total()
        }


def _folded_labels(data: DataRows) -> set[str]:
    return {folded(row.label) for _, row, _ in data.usable if row.split == "train"}
