"""Checks that refuse unusable data sets, and the faults and warnings of usable ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sweeper.data.examples import DataFault, Dataset, Example, Split
from sweeper.data.problems import listing, remedy
from sweeper.data.splits import Repeated
from sweeper.errors import DataError
from sweeper.spec import DataSpec
from sweeper.units import plural

Parts = Mapping[Split, Iterable[Example]]

EMPTY = "no text or no answer"
"""The reason for leaving out an empty row."""


def check_classes_of_train(parts: Parts, name: str) -> None:
    """Check that train has every class that validation and test have.

    Raises:
        DataError: Train lacks a class.
    """
    labels = {example.label or "" for examples in parts.values() for example in examples}
    unseen = sorted(labels - {example.label or "" for example in parts["train"]})
    if unseen:
        raise DataError(
            f"labels that train does not have: {listing(unseen, form='{!r}')}",
            why="A class without training rows cannot be learnt: the model gets its rows wrong.",
            fix="Add rows with these labels to train, or remove them from the other splits.",
            where=name,
            code="unknown-labels",
        )


def check_subset(parts: Parts, before: Parts, max_rows: int) -> None:
    """Check that train kept a row of each class when rows were left out.

    Raises:
        DataError: Train has no row of a class that it had before.
    """
    lost_labels = {e.label for e in before["train"]} - {e.label for e in parts["train"]}
    if lost_labels:
        raise DataError(
            f"max_rows is {max_rows}, which is too few: train has no row of {len(lost_labels)} "
            "classes",
            fix="Raise data.max_rows, or leave it out.",
            where="data.max_rows",
        )


def check_sizes(parts: Mapping[Split, Sequence[Example]], name: str) -> None:
    """Check that no split is empty.

    Raises:
        DataError: A split has no row.
    """
    if empty := [split for split, examples in parts.items() if not examples]:
        inputs = len({example.key for examples in parts.values() for example in examples})
        raise DataError(
            f"no row is left for {' and '.join(empty)}",
            why=f"The data has {plural(inputs, 'different input')}; each of train, validation and "
            "test needs at least one; in a classification, the same class must have one for each.",
            fix="Add rows, or give files of your own for validation and test.",
            where=name,
            code="empty-split",
        )


MIN_SHARE_OF_REFERENCES = 0.5
"""If more than this share of the rows have an input with several answers, the answers are
references (all of them correct), not conflicts."""

MIN_UNEVEN_RATIO = 10
"""Classes are uneven if the most frequent has at least this many times the rows of the rarest.
A model that never predicts the rarest still has an accuracy above 90% on the two."""

MIN_VALIDATION_ROWS = 100
"""With fewer validation rows, the 95% interval of an accuracy of 90% is wider than plus or minus
6 points (binomial)."""


LeftOutKind = Literal["unreadable", "form", "empty"]
"""Why a row is left out: it is broken, does not have the form of the table, or is empty."""

_REPAIRS: Mapping[LeftOutKind, str] = {
    "unreadable": "Repair these lines in the file.",
    "form": "Give these rows the columns and types of the others.",
    "empty": "Fill in these rows, or remove them.",
}


@dataclass
class LeftOutRows:
    """The rows of a split that are left out for one reason.

    Args:
        kind: Code of the fault.
        path: The file of the rows.
    """

    split: Split
    reason: str
    kind: LeftOutKind
    path: str
    lines: list[int] = field(default_factory=list)


def faults(
    dataset: Dataset, left_out: Iterable[LeftOutRows], repeated: Repeated, spec: DataSpec
) -> tuple[DataFault, ...]:
    """The faults of the rows, each with an action that removes it."""
    return (*_left_out_faults(dataset, left_out), *_repeated_faults(dataset, repeated, spec))


def warnings(dataset: Dataset) -> tuple[str, ...]:
    """Warnings about uneven classes, numeric labels and few validation rows.

    A rule of the rule book warns about few test rows.
    """
    warnings = []
    if dataset.labels:
        counts = Counter(example.label for example in dataset.splits["train"]).most_common()
        (commonest, most_rows), (rarest, fewest_rows) = counts[0], counts[-1]
        if most_rows >= MIN_UNEVEN_RATIO * fewest_rows:
            warnings.append(
                f"uneven classes: {most_rows} rows of {commonest!r}, {fewest_rows} of {rarest!r} "
                "in train"
            )
    if dataset.labels and all(label.lstrip("-").isdigit() for label in dataset.labels):
        warnings.append("labels are numbers; a column label_text could give their names")
    if (count := len(dataset.splits["validation"])) < MIN_VALIDATION_ROWS:
        warnings.append(
            f"only {plural(count, 'row')} in validation: differences will be hard to tell from "
            "noise"
        )
    return tuple(warnings)


def _left_out_faults(dataset: Dataset, left_out: Iterable[LeftOutRows]) -> Iterator[DataFault]:
    for group in left_out:
        lines = listing(group.lines, 3)
        rows = plural(len(group.lines), "row")
        yield DataFault(
            kind=group.kind,
            rows=len(group.lines),
            share=_test_share(dataset, group.split, len(group.lines)),
            text=f"{rows} of {group.split} left out: {group.reason} (line {lines})",
            action=_REPAIRS[group.kind],
            where=f"{group.path}:{group.lines[0]}",
        )
    if garbled := dataset.counts["garbled"]:
        yield DataFault(
            kind="garbled",
            rows=garbled,
            share=min(garbled / dataset.rows, 1),
            text=f"{plural(garbled, 'row')} with lost or garbled characters "
            "(written in one encoding, read in another)",
            action="Write the file anew from its source, as UTF-8.",
        )


def _test_share(dataset: Dataset, split: Split, rows: int) -> float:
    """These left-out rows as a share of the test split, or of all rows if it is carved from them.

    Both include the left-out rows. 0 for rows of another split.
    """
    source_of_test = "test" if dataset.origins["test"] == "official" else "train"
    kept_rows = len(dataset.splits["test"]) if split == "test" else dataset.rows
    return rows / (kept_rows + rows) if split == source_of_test else 0.0


def _repeated_faults(dataset: Dataset, repeated: Repeated, spec: DataSpec) -> Iterator[DataFault]:
    test_rows = len(dataset.splits["test"])
    texts = {
        "duplicates": "repeat another row exactly; where sweeper divides the rows, equal ones go "
        "into the same split",
        "conflicts": "have an input that occurs with another answer",
        "leakage": "of the official validation or test split are in train, too: scores will look "
        "better than they are",
    }
    if not dataset.labels and repeated.counts["conflicts"] > MIN_SHARE_OF_REFERENCES * dataset.rows:
        del texts["conflicts"]  # answers of one input are references
    for kind, text in texts.items():
        if rows := repeated.counts[kind]:
            yield DataFault(
                kind=kind,
                rows=rows,
                share=repeated.in_test[kind] / test_rows,
                text=f"{plural(rows, 'row')} {text}",
                action=remedy(spec, kind),
            )
