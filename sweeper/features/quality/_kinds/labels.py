"""Faults of labels: misspelt, unknown in train, rare, all the same, or probably wrong."""

from __future__ import annotations

import difflib
import re
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sweeper.data.contents import visible
from sweeper.data.examples import Split
from sweeper.data.labels import folded
from sweeper.data.rows import FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Fault, FaultKind
from sweeper.features.quality._trust import (
    MAX_ROWS,
    MIN_CONFIDENCE_TO_REPLACE,
    LabelTrust,
    label_trust,
    predicted_labels,
    reason_not_checked,
)
from sweeper.packages import is_installed
from sweeper.units import plural


class RenamedLabels(FaultKind):
    """Rows with a label that stands for another one. Subclasses define ``renamed``.

    Attributes:
        verb: The verb between the label and its new name, in the detail of a fault.
    """

    verb = "is"

    @abstractmethod
    def renamed(self, data: CheckedRows) -> dict[str, str]:
        """The new label for each label to replace."""

    def find(self, data: CheckedRows) -> list[Fault]:
        renamed = self.renamed(data)
        return [
            Fault(index, f"{label!r} {self.verb} {renamed[label]!r}")
            for index, row, _ in data.usable
            if (label := data.raw_label(row)) in renamed
        ]

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        renamed = self.renamed(data)
        rows = {fault.row_index: data.rows[fault.row_index] for fault in faults}
        return {
            index: data.with_label(row, renamed[label])
            for index, row in rows.items()
            if (label := data.raw_label(row)) in renamed
        }


class LabelVariants(RenamedLabels):
    """Labels that differ from a commoner one only in case, white space, hyphens or underscores."""

    name = "label-variants"
    order = 26
    title = "spell a label differently from most rows"
    consequence = "One class becomes two, and each has fewer rows."
    remedy = "write the most common spelling"
    severity = "serious"
    safe = True
    in_plan = True
    needs = "labels"

    def renamed(self, data: CheckedRows) -> dict[str, str]:
        common_spellings: dict[str, str] = {}
        counts = Counter(visible(row.label) for _, row, _ in data.usable if row.label)
        for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            common_spellings.setdefault(folded(label), " ".join(label.split()))
        raw_labels = {data.raw_label(row) for _, row, _ in data.usable if row.label}
        return {
            label: new for label in raw_labels if (new := common_spellings[folded(label)]) != label
        }


MIN_SIMILARITY = 0.8
"""Lowest similarity of a mistyped label: of ten letters or more, two may differ."""

MIN_FREQUENCY_RATIO = {1: 2, 2: 4}
"""How many times commoner the correct label must be, by number of different letters: a label that
is nearly as common is a class of its own. In 400 rows of banking77 (77 labels) with 20 labels
that lack a letter, 98% are found; with a ratio of 4 for one letter, 79%."""


class MisspeltLabels(RenamedLabels):
    """Rare labels that differ in a letter or two from a common label."""

    name = "misspelt-labels"
    order = 28
    title = "have a rare label that looks like a mistyped common one"
    consequence = "Each mistyped label becomes a class of its own, which cannot be learnt."
    remedy = "write the common label"
    in_plan = True
    verb = "may be"
    needs = "labels"

    def renamed(self, data: CheckedRows) -> dict[str, str]:
        counts = Counter(row.label for _, row, _ in data.usable if row.label)
        corrections: dict[str, str] = {}
        if not counts or len(counts) > counts.total() / 2:  # most labels occur once
            return corrections
        max_rows = max(counts.values())
        for label, rows in counts.items():
            for letters, min_ratio in MIN_FREQUENCY_RATIO.items():
                # Labels of one or two letters are all alike.
                if label in corrections or len(label) < 3 or rows * min_ratio > max_rows:
                    continue
                common_labels = [
                    other
                    for other, other_rows in counts.items()
                    if other_rows >= min_ratio * rows and _letters(other) != _letters(label)
                ]
                cutoff = max(MIN_SIMILARITY, 1 - letters / len(label))
                matches = difflib.get_close_matches(label, common_labels, n=1, cutoff=cutoff)
                if matches:
                    corrections[label] = matches[0]
        return corrections


def _letters(label: str) -> str:
    """A label without digits: labels that differ in digits are different classes."""
    return re.sub(r"\d", "", folded(label))


MIN_AGREEMENT = 0.9
"""Of the inputs of a label that are also in train, the lowest share with the same train label."""

MIN_VOTE_SHARE, MIN_VOTES = 0.6, 3
"""Lowest share and number of a label's rows for which the same train label must be predicted.
Measured with numbers in place of names: all 7 labels of snips7 (700 rows) and 75 of 77 of banking77
(9,000 rows) get a name, and none a wrong one."""


class LabelSets(RenamedLabels):
    """Labels of validation or test that train does not have, such as numbers in place of names."""

    name = "label-sets"
    order = 64
    title = "are in validation or test and have a label that train does not have"
    consequence = "A class without training rows cannot be learnt: the model gets its rows wrong."
    remedy = (
        "write the label that train gives to the same inputs, or else to texts with the same "
        "words; other rows stay, and training leaves them out"
    )
    severity = "serious"
    needs = "labels"

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows with a label that train lacks, and the train label that it means, if known."""
        mapping = self.renamed(data)
        trained = {folded(row.label) for _, row, _ in data.usable if row.split == "train"}
        return [
            Fault(index, f"{label!r} is {mapping[label]!r} in train")
            if (label := data.raw_label(row)) in mapping
            else Fault(index, f"{label!r}", mendable=False)
            for index, row, _ in data.usable
            if row.label and row.split != "train" and folded(row.label) not in trained
        ]

    def renamed(self, data: CheckedRows) -> dict[str, str]:
        """The train label, if known, for each label that train lacks."""
        variants = LabelVariants().renamed(data)
        raw_labels = {label for _, row, _ in data.usable if (label := data.raw_label(row))}
        train_labels = {
            variants.get(label, label)
            for _, row, _ in data.usable
            if row.split == "train" and (label := data.raw_label(row))
        }
        if {variants.get(label, label) for label in raw_labels} <= train_labels:
            return {}
        rows = [
            _LabelledRow(index, row.split, example.key, variants.get(label, label))
            for index, row, example in data.usable
            if (label := data.raw_label(row))
        ]
        unknown_keys = {row.key for row in rows if row.label not in train_labels}
        trained = {
            row.key: row.label for row in rows if row.split == "train" and row.key in unknown_keys
        }
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row.label not in train_labels and row.key in trained:
                votes[row.label][trained[row.key]] += 1
        known_labels = {
            label: counts.most_common(1)[0][0]
            for label, counts in votes.items()
            if counts.most_common(1)[0][1] >= MIN_AGREEMENT * counts.total()
        }
        known_labels |= _labels_by_words(
            data, rows, {row.label for row in rows} - train_labels - {*known_labels}
        )
        return {
            raw_label: known_labels[label]
            for raw_label in raw_labels
            if (label := variants.get(raw_label, raw_label)) in known_labels
        }


class _LabelledRow(NamedTuple):
    """A row with the usual spelling of its label."""

    row_index: int
    split: Split
    key: str
    label: str


def _labels_by_words(
    data: CheckedRows, rows: Sequence[_LabelledRow], labels: set[str]
) -> dict[str, str]:
    """The train label that a classifier of words predicts for most rows of each label.

    A label is left out if another one gets the same train label, or if its split has rows with that
    train label.
    """
    train = [row for row in rows if row.split == "train"]
    train = train[:: -(-len(train) // MAX_ROWS) or 1]
    unknown_rows = [row for row in rows if row.label in labels]
    if not unknown_rows or len({row.label for row in train}) < 2 or not is_installed("sklearn"):
        return {}
    texts, unknown_texts = (
        [data.rows[row.row_index].input for row in part] for part in (train, unknown_rows)
    )
    predicted = predicted_labels(texts, [row.label for row in train], unknown_texts)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for row, label in zip(unknown_rows, predicted, strict=True):
        votes[row.label][label] += 1
    best = {label: counts.most_common(1)[0] for label, counts in votes.items()}
    claims = Counter(label for label, _ in best.values())
    labels_of_split: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels_of_split[row.split].add(row.label)
    labels_taken = {row.label: labels_of_split[row.split] for row in unknown_rows}
    return {
        label: train_label
        for label, (train_label, vote_count) in best.items()
        if claims[train_label] == 1
        and train_label not in labels_taken[label]
        and vote_count >= max(MIN_VOTES, MIN_VOTE_SHARE * votes[label].total())
    }


class OneClass(FaultKind):
    """A training split in which all rows have the same label."""

    name = "one-class"
    order = 65
    title = "are in train, where all rows have the same label"
    consequence = (
        "A classification needs at least two classes, so planning and training refuse such data. "
        "Add rows with other labels to train, or name another column: --column label=COLUMN."
    )
    remedy = "none; add rows with other labels, or name another label column"
    severity = "serious"
    has_remedy = False
    needs = "labels"

    def find(self, data: CheckedRows) -> list[Fault]:
        train = [(index, row.label) for index, row, _ in data.usable if row.split == "train"]
        labels = {label for _, label in train}
        return [Fault(index, repr(label)) for index, label in train if label and len(labels) == 1]


MIN_INPUTS = 3
"""Minimum number of inputs of a class: one each for training, validation and test."""


class RareLabels(FaultKind):
    """Classes with fewer than three different inputs."""

    name = "rare-labels"
    order = 66
    title = "have a label with fewer than three different inputs"
    consequence = (
        "Such a class cannot be in train, validation and test at once: it is hardly learnt, or "
        "not checked."
    )
    remedy = "leave them out; if the class matters, add rows or merge labels"
    needs = "labels"

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows with a rare label that is not a mistyped common one."""
        mistyped = MisspeltLabels().renamed(data)
        inputs: dict[str, set[str]] = defaultdict(set)
        for _, row, example in data.usable:
            if len(keys := inputs[folded(row.label)]) < MIN_INPUTS:
                keys.add(example.key)
        return [
            Fault(index, f"{row.label!r} has {plural(len(keys), 'different input')}")
            for index, row, _ in data.usable
            if row.label and row.label not in mistyped
            if len(keys := inputs[folded(row.label)]) < MIN_INPUTS
        ]


class LabelNoise(FaultKind):
    """Train rows whose words suggest another label."""

    name = "label-noise"
    order = 68
    title = "have a label that is probably wrong"
    consequence = "The model learns the error."
    remedy = (
        "leave them out. Only train is looked at: without hard rows in validation and test, "
        "scores would be too good. If a file has no splits, divide it first (`sweeper data "
        "split`). `--remedy relabel` writes the likely label instead"
    )
    uses_model = True

    def why_unchecked(self, data: CheckedRows) -> str:
        return reason_not_checked(data)

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows with a suspected label, and the label that the other rows suggest."""
        if reason_not_checked(data):
            return []
        trust = label_trust(data)
        return [
            Fault(
                index, f"{data.rows[index].label!r} may be {label!r} (confidence {confidence:.0%})"
            )
            for index, faulty, label, confidence in zip(
                trust.row_indexes,
                self.has_fault(trust),
                trust.predicted,
                trust.confidence,
                strict=True,
            )
            if faulty
        ]

    def has_fault(self, trust: LabelTrust) -> tuple[bool, ...]:
        """Whether each row has the fault."""
        return trust.suspected


class Relabel(LabelNoise):
    """Suspected labels for which another one is very likely."""

    name = "relabel"
    order = 67
    title = "have a label that is probably wrong, and another one is very likely"
    remedy = (
        "write the label that words predict, if its probability is "
        f"{MIN_CONFIDENCE_TO_REPLACE:.0%} or more and the present label is very unlikely. This "
        "changes only the train split; if a file has no splits, divide it first. Other suspected "
        "rows stay as they are; if `label-noise` is named too, it leaves them out"
    )
    instead_of = "label-noise"

    def has_fault(self, trust: LabelTrust) -> tuple[bool, ...]:
        return trust.certain

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        trust = label_trust(data)
        predicted = dict(zip(trust.row_indexes, trust.predicted, strict=True))
        return {
            fault.row_index: data.with_label(data.rows[fault.row_index], predicted[fault.row_index])
            for fault in faults
        }
