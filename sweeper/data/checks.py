"""Errors of unusable data sets, and warnings about usable ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sweeper.data.examples import Dataset, Example, Split
from sweeper.data.problems import listing, raise_any, remedy
from sweeper.errors import DataError, Problem
from sweeper.spec import DataSpec
from sweeper.units import plural

Parts = Mapping[Split, Iterable[Example]]

EMPTY = "no text or no answer"
"""Why an empty row is left out."""


def check_seen(parts: Parts, name: str) -> None:
    """Check that train has every class that validation and test have.

    Raises:
        DataError: It does not.
    """
    labels = {example.label or "" for examples in parts.values() for example in examples}
    unseen = sorted(labels - {example.label or "" for example in parts["train"]})
    if unseen:
        raise DataError(
            f"labels that train does not have: {listing([repr(label) for label in unseen])}",
            why="A class without training rows cannot be learnt, so every such row is wrong.",
            fix="Add rows with these labels to train, or remove them from the other splits.",
            where=name,
        )


def check_subset(parts: Parts, before: Parts, max_rows: int) -> None:
    """Check that no class was lost when rows were left out.

    Raises:
        DataError: Train has no row of a class that it had before.
    """
    lost = {e.label for e in before["train"]} - {e.label for e in parts["train"]}
    if lost:
        raise DataError(
            f"max_rows is {max_rows}, which is too few: train has no row of {len(lost)} classes",
            fix="Raise data.max_rows, or leave it out.",
            where="data.max_rows",
        )


def check_sizes(parts: Mapping[Split, list[Example]], name: str) -> None:
    """Check that no split is empty.

    Raises:
        DataError: A split has no row.
    """
    inputs = len({example.key for examples in parts.values() for example in examples})
    why = (
        f"The data has {plural(inputs, 'different input')}; each of train, "
        "validation and test needs at least one, of the same class in a classification."
    )
    fix = "Add rows, or give files of your own for validation and test."
    raise_any(
        [
            Problem(f"no row is left for {split}", why, fix, name)
            for split, examples in parts.items()
            if not examples
        ]
    )


REFERENCES = 0.5
"""Share of the rows from which on several written answers of an input are meant."""

UNEVEN = 10
"""Ratio of the most to the least frequent class from which on accuracy hides the rare one: a model
that never names the rare class still scores above 90% between the two."""

FEW_HELD_OUT = 100
"""Below this many validation rows, the 95% interval of an accuracy of 90% is wider than
plus or minus 6 points (binomial)."""


def warnings(
    dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]], spec: DataSpec
) -> tuple[str, ...]:
    """Sentences about ``dataset``; ``skipped`` has reason to lines for each split."""
    return (
        *_left_out(dataset, skipped),
        *_repeated(dataset, spec),
        *_classes(dataset),
        *_few(dataset),
    )


def _left_out(dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]]) -> list[str]:
    said = []
    for split, reasons in skipped.items():
        for reason, lines in reasons.items():
            where = listing([str(line) for line in lines], 3)
            said.append(f"{plural(len(lines), 'row')} of {split} left out: {reason} (line {where})")
    if dataset.encoding_problems:
        said.append(
            f"{plural(dataset.encoding_problems, 'row')} with lost or garbled characters "
            "(written in one encoding, read in another)"
        )
    return said


def _repeated(dataset: Dataset, spec: DataSpec) -> list[str]:
    said = []
    if dataset.duplicates:
        said.append(
            f"{plural(dataset.duplicates, 'row')} repeat another row exactly; where "
            "sweeper divides the rows, equal ones go into the same split. "
            f"{remedy(spec, 'duplicates')}"
        )
    references = not dataset.labels and dataset.conflicting > REFERENCES * dataset.rows
    if dataset.conflicting and not references:
        said.append(
            f"{plural(dataset.conflicting, 'row')} have an input that occurs with another answer. "
            f"{remedy(spec, 'conflicts')}"
        )
    if dataset.leaked:
        said.append(
            f"{plural(dataset.leaked, 'row')} of the official validation or test split are in "
            f"train, too: scores will look better than they are. {remedy(spec, 'leakage')}"
        )
    return said


def _classes(dataset: Dataset) -> list[str]:
    if not dataset.labels:
        return []
    said = []
    counts = Counter(example.label for example in dataset.splits["train"])
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= UNEVEN * few:
        said.append(f"uneven classes: {many} rows of {most!r}, {few} of {least!r} in train")
    if all(label.lstrip("-").isdigit() for label in dataset.labels):
        said.append("labels are numbers; a column label_text could give their names")
    return said


def _few(dataset: Dataset) -> list[str]:
    """Of the test split, the rule ``small-test-set`` says it with the smallest difference."""
    count = len(dataset.splits["validation"])
    if count >= FEW_HELD_OUT:
        return []
    return [
        f"only {plural(count, 'row')} in validation: differences will be hard to tell from noise"
    ]
