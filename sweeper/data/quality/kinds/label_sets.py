"""Labels that train does not have, that few rows have, or that all rows have."""

from __future__ import annotations

from collections import Counter, defaultdict

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.kinds.label_spelling import RenamedLabels
from sweeper.data.quality.rows import DataRows
from sweeper.data.quality.trust import predicted_labels
from sweeper.extras import is_installed

AGREE = 0.9
"""Share of the inputs that two codes have in common which must agree before one is taken for the
other."""

MAJORITY, FEWEST_VOTES = 0.6, 3
"""Share, and number, of the rows of a label that must look like one label of train. Measured with
numbers in place of names: all 7 of snips7 (700 rows) and 75 of 77 of banking77 (9,000 rows) get a
name, and none a wrong one."""


class LabelSets(RenamedLabels):
    """Labels of validation or test that train does not have, such as numbers in place of names."""

    name = "label-sets"
    order = 64
    title = "are in validation or test and have a label that train does not have"
    consequence = "A class without training rows cannot be learnt, so every such row is wrong."
    remedy = (
        "writes the label that train gives to the same inputs, or else to texts with the same "
        "words; other rows stay, and training leaves them out"
    )
    severity = "serious"
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with such a label, and what it stands for where inputs of both splits tell."""
        mapping = self.renamed(data)
        known = {folded(row.label) for _, row, _ in data.usable if row.split == "train"}
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
        found = {
            label: counts.most_common(1)[0][0]
            for label, counts in meant.items()
            if counts.most_common(1)[0][1] >= AGREE * counts.total()
        }
        return found | _by_words(data, {row.label for _, row, _ in data.usable} - known - {*found})


def _by_words(data: DataRows, labels: set[str]) -> dict[str, str]:
    """Labels of the other splits to those that most of their rows get by their words.

    No two of them may stand for the same one, nor for one that occurs in the same split.
    """
    train = [row for _, row, _ in data.usable if row.split == "train" and row.label and row.input]
    asked = [row for _, row, _ in data.usable if row.label in labels - {""} and row.input]
    if not asked or len({row.label for row in train}) < 2 or not is_installed("sklearn"):
        return {}
    predicted = predicted_labels(
        [row.input for row in train], [row.label for row in train], [row.input for row in asked]
    )
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for row, label in zip(asked, predicted, strict=True):
        votes[row.label][str(label)] += 1
    best = {label: counts.most_common(1)[0] for label, counts in votes.items()}
    claims = Counter(label for label, _ in best.values())
    beside: dict[str, set[str]] = defaultdict(set)
    for _, row, _ in data.usable:
        beside[row.split].add(row.label)
    taken = {row.label: beside[row.split] for row in asked}
    return {
        label: meant
        for label, (meant, rows) in best.items()
        if claims[meant] == 1
        and meant not in taken[label]
        and rows >= max(FEWEST_VOTES, MAJORITY * votes[label].total())
    }


class OneClass(Kind):
    """A training split in which all rows have the same label."""

    name = "one-class"
    order = 65
    title = "are in train, where all rows have the same label"
    consequence = (
        "A classification needs at least two classes, so planning and training refuse such data. "
        "Add rows with other labels to train, or name another column: --column label=COLUMN."
    )
    remedy = "changes nothing; add rows with other labels, or name another label column"
    severity = "serious"
    mends = False
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        train = [(place, row.label) for place, row, _ in data.usable if row.split == "train"]
        labels = {label for _, label in train}
        return [Fault(place, repr(label)) for place, label in train if label and len(labels) == 1]


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
