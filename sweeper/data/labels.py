"""Changes labels that are spelt differently in train, and leaves out those that cannot be used.

A label cannot be used if only one row has it, or if train does not have it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from sweeper.data.contents import visible
from sweeper.data.examples import DataFault, Example, Split
from sweeper.data.problems import listing, remedy
from sweeper.errors import DataError
from sweeper.spec import DataSpec
from sweeper.units import plural

Parts = dict[Split, list[Example]]

_MAX_ROWS_LISTED = 3
"""At most this many rows are listed in a message."""

MAX_CLASSES = 10_000
"""More classes are refused. Common practice is to rank them by retrieval, not by a last layer."""

_JOINERS = re.compile(r"(?<=[^\W\d])[-_]+(?=\w)|(?<=\w)[-_]+(?=[^\W\d])|(?<=\w)_+(?=\w)")
"""Hyphens and underscores in words, but not a number's sign: -1 and 1 are two classes."""


def folded(label: str) -> str:
    """The label without differences in case, white space, hyphens and invisible characters.

    >>> folded("Card Arrival"), folded("card_arrival")
    ('card arrival', 'card arrival')
    """
    return " ".join(_JOINERS.sub(" ", visible(label).casefold()).split())


def spellings(train: Iterable[str | None], other: Iterable[str | None]) -> dict[str, str]:
    """From each label that only ``other`` has to its spelling in ``train``, if there is just one.

    >>> spellings(["Yes", "no"], ["yes", "no", "maybe"])
    {'yes': 'Yes'}
    """
    labels = {label for label in train if label}
    by_fold: dict[str, list[str]] = {}
    for label in sorted(labels):
        by_fold.setdefault(folded(label), []).append(label)
    return {
        label: same_fold[0]
        for label in sorted({label for label in other if label} - labels)
        if len(same_fold := by_fold.get(folded(label), [])) == 1
    }


@dataclass
class SeenLabels:
    """The number of rows of a split by label, and the lines of the first rows with each label."""

    rows: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, example: Example) -> None:
        label = example.label or ""
        self.rows[label] += 1
        if self.rows[label] <= _MAX_ROWS_LISTED:
            self.lines.setdefault(label, []).append(example.line)


LabelChanges = dict[tuple[Split, str], str | None]
"""From a label of a split to its new spelling, or to None if its rows are left out."""


def reconcile_labels(
    parts: Mapping[Split, list[Example]], spec: DataSpec
) -> tuple[Parts, tuple[DataFault, ...]]:
    """The rows that can be trained on and scored, and faults about changed and left-out rows.

    Raises:
        DataError: See ``label_changes``.
    """
    seen_labels = {split: SeenLabels() for split in parts}
    for split, examples in parts.items():
        for example in examples:
            seen_labels[split].add(example)
    changes, faults = label_changes(seen_labels, spec)
    kept_parts = {
        split: [new for e in examples if (new := with_label(changes, split, e)) is not None]
        for split, examples in parts.items()
    }
    return kept_parts, faults


def with_label(changes: LabelChanges, split: Split, example: Example) -> Example | None:
    """The example with its new label; None if it is left out."""
    label = changes.get((split, example.label or ""), example.label)
    if label == example.label:
        return example
    return replace(example, label=label) if label else None


def label_changes(
    seen: Mapping[Split, SeenLabels], spec: DataSpec
) -> tuple[LabelChanges, tuple[DataFault, ...]]:
    """The changes of labels, and faults that report them.

    Validation and test take train's spelling of a label. Rows whose label no other row has are
    left out, as are rows of validation and test whose label train lacks.

    Raises:
        DataError: Train has fewer than two classes, there are too many, or most rows of a split
            have labels that train does not have.
    """
    name = str(spec.path)
    _refuse_too_many(sum((labels.rows for labels in seen.values()), Counter()), name)
    faults: list[DataFault] = []
    changes: LabelChanges = {}
    for split in seen.keys() - {"train"}:
        if mapping := spellings(seen["train"].rows, seen[split].rows):
            changes |= {(split, old): new for old, new in mapping.items()}
            faults.append(_spellings_fault(split, seen[split], mapping, spec))
    counts: Counter[str] = Counter()
    for split, labels in seen.items():
        for label, rows in labels.rows.items():
            counts[changes.get((split, label)) or label] += rows
    single_row_labels = {label for label, rows in counts.items() if rows == 1}
    if single_row_labels:
        faults.append(_single_rows_fault(seen, single_row_labels, len(counts), spec))
    trained_labels = seen["train"].rows.keys() - single_row_labels
    _refuse_single_class(trained_labels, name)
    for split, labels in seen.items():
        unseen_labels = {
            label
            for label in labels.rows.keys() - single_row_labels
            if (changes.get((split, label)) or label) not in trained_labels
        }
        if unseen_labels:
            faults.append(
                _unseen_labels_fault(
                    split, labels, unseen_labels, single_row_labels, trained_labels, name
                )
            )
        changes |= {
            (split, label): None
            for label in unseen_labels | (single_row_labels & labels.rows.keys())
        }
    return changes, tuple(faults)


def _test_share(seen_labels: Mapping[Split, SeenLabels], labels: Set[str]) -> float:
    """The share of rows with these labels in test, or in train if test is not split off yet."""
    rows = (seen_labels.get("test") or seen_labels["train"]).rows
    return sum(rows[label] for label in labels) / max(rows.total(), 1)


def _refuse_too_many(rows: Counter[str], name: str) -> None:
    """Refuse more than ``MAX_CLASSES`` classes, or classes with under two rows on average."""
    if 1 < len(rows) > rows.total() / 2:
        what = f"{len(rows)} different labels in {rows.total()} rows"
        why = "A class needs at least two rows, and most need many more."
    elif len(rows) > MAX_CLASSES:
        what = f"{len(rows):,} different labels"
        why = f"Plans, tables and the model's last layer are made for {MAX_CLASSES:,} at most."
    else:
        return
    fix = "Is this column a label? If it is free text, use the task instruction."
    raise DataError(what, why=why, fix=fix, where=name, code="too-many-classes")


def _refuse_single_class(trained_labels: Set[str], name: str) -> None:
    """Refuse a train split with fewer than two classes."""
    if len(trained_labels) < 2:
        raise DataError(
            "train needs two labels with several rows each, but has "
            f"{listing(sorted(trained_labels), form='{!r}') or 'none'}",
            why="A classification needs at least two classes, and one row cannot be in both train "
            "and validation.",
            fix="Add rows with other labels to train, merge labels, or name another column: "
            "data.columns: {label: COLUMN}.",
            where=name,
            code="single-class",
        )


def _spellings_fault(
    split: Split, seen: SeenLabels, mapping: Mapping[str, str], spec: DataSpec
) -> DataFault:
    """The fault about labels that take the spelling of train."""
    changed_rows = sum(seen.rows[label] for label in mapping)
    pairs = listing([f"{old!r} is {new!r}" for old, new in mapping.items()], 4)
    return DataFault(
        kind="label-variants",
        rows=changed_rows,
        text=f"labels of {split} that are spelt differently from train get its spelling "
        f"({plural(changed_rows, 'row')}): {pairs}",
        action=remedy(spec, "label-variants"),
    )


def _single_rows_fault(
    seen: Mapping[Split, SeenLabels], labels: Set[str], all_labels: int, spec: DataSpec
) -> DataFault:
    """The fault about labels that only one row has, of ``all_labels`` labels."""
    locations = [place for split in seen for place in _label_locations(split, seen[split], labels)]
    return DataFault(
        kind="rare-labels",
        rows=len(labels),
        share=_test_share(seen, labels),
        text=f"{len(labels)} of {all_labels} labels occur in one row only, which is left out: "
        f"{listing(locations, _MAX_ROWS_LISTED)}. One row cannot be in both train and validation",
        action=f"Add rows, or merge labels. {remedy(spec, 'rare-labels', '')}".rstrip(),
    )


def _unseen_labels_fault(
    split: Split,
    seen: SeenLabels,
    unseen_labels: Set[str],
    single_row_labels: Set[str],
    trained_labels: Set[str],
    name: str,
) -> DataFault:
    """The fault about rows of a split with labels that train does not have.

    Raises:
        DataError: More than half of the split has such labels.
    """
    lost_rows = sum(seen.rows[label] for label in unseen_labels)
    rows = seen.rows.total() - len(single_row_labels & seen.rows.keys())
    if lost_rows > rows / 2:
        raise DataError(
            f"{lost_rows} of {rows} rows of {split} have labels that train does not have: "
            f"{listing(sorted(unseen_labels), form='{!r}')}",
            why="A class that is never shown cannot be learnt. Train has "
            f"{listing(sorted(trained_labels), form='{!r}')}.",
            fix="Give all splits the same labels.",
            where=name,
            code="unknown-labels",
        )
    locations = _label_locations(split, seen, unseen_labels)[:_MAX_ROWS_LISTED]
    more = f" and {lost_rows - len(locations)} more" if lost_rows > len(locations) else ""
    return DataFault(
        kind="label-sets",
        rows=lost_rows,
        share=lost_rows / rows if split == "test" else 0.0,
        text=f"{lost_rows:,} of {rows:,} rows of {split} left out, with labels that train does not "
        f"have: {', '.join(locations)}{more}",
        action="To have these labels scored, add such rows to train.",
    )


def _label_locations(split: Split, seen_labels: SeenLabels, labels: Set[str]) -> list[str]:
    """Label, split and line of the first rows with these labels, in the order of their lines."""
    rows = [
        (n, label) for label in labels & seen_labels.lines.keys() for n in seen_labels.lines[label]
    ]
    return [f"{label!r} ({split}, line {line})" for line, label in sorted(rows)]
