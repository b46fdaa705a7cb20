"""Errors of unusable data sets, and warnings about usable ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sweeper import units
from sweeper.data.detect_columns import SAMPLE_ROWS, Form
from sweeper.data.examples import Dataset, Example, Split
from sweeper.data.labels import remedy
from sweeper.data.marks import MADE_FROM, METHOD
from sweeper.data.problems import listing, raise_any
from sweeper.data.table import RowTable
from sweeper.errors import DataError, Problem

Parts = Mapping[Split, Iterable[Example]]

EMPTY = "no text or no answer"
"""Why an empty row is left out."""

MOST_CLASSES = 10_000
"""Common practice: more classes than that are ranked by retrieval, not by a last layer."""


def check_labels(parts: Parts, name: str) -> None:
    """Check the classes of a classification, before anything is split.

    Raises:
        DataError: There is one class only, or there are too many.
    """
    rows = Counter(example.label or "" for examples in parts.values() for example in examples)
    is_label = "Is this column a label? If it is free text, use the task instruction."
    if len(rows) == 1:
        raise DataError(
            f"all rows have the same label, {next(iter(rows))!r} "
            f"({units.plural(rows.total(), 'row')})",
            why="A classification needs at least two classes.",
            fix="Is this the right column? Name another one: data.columns: {label: COLUMN}.",
            where=name,
        )
    if len(rows) > rows.total() / 2:
        raise DataError(
            f"{len(rows)} different labels in {rows.total()} rows",
            why="A class needs at least two rows, and most need many more.",
            fix=is_label,
            where=name,
        )
    if len(rows) > MOST_CLASSES:
        raise DataError(
            f"{len(rows):,} different labels",
            why=f"Plans, tables and the model's last layer are made for {MOST_CLASSES:,} at most.",
            fix=is_label,
            where=name,
        )
    if sum(count > 1 for count in rows.values()) < 2:
        raise DataError(
            f"only {next(label for label, count in rows.items() if count > 1)!r} of {len(rows)} "
            "labels occurs in more than one row",
            why="One row cannot be in both train and validation.",
            fix="Add rows with the other labels, or merge these.",
            where=name,
        )


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
    problems: list[Problem] = []
    inputs = len({example.key for examples in parts.values() for example in examples})
    for split, examples in parts.items():
        if not examples:
            problem = Problem(
                f"no row is left for {split}",
                why=f"The data has {units.plural(inputs, 'different input')}; each of train, "
                "validation and test needs at least one, of the same class in a classification.",
                fix="Add rows, or give files of your own for validation and test.",
                where=name,
            )
            problems.append(problem)
    raise_any(problems)


# Read beside the columns of roles: what tests of code need, and what names a row.
_KNOWN = {"test_setup_code", "entry_point", "id", "idx", "index", "task_id", "uid", "guid"}
_KNOWN |= {MADE_FROM, METHOD}
INFORMATIVE_WORDS = 3
"""Words of a cell, on average, from which on an unused column may hold part of the question."""


def unused_columns(table: RowTable, form: Form) -> tuple[str, ...]:
    """A sentence about columns with text that no role uses, if there are any."""
    used = {column for one in (form, *form.others) for column in one.columns.values()}
    sample = list(table.sample(SAMPLE_ROWS))
    left: list[str] = []
    for column in table.columns:
        if column in used or column.lower() in _KNOWN:
            continue
        words = [
            len(cell.split()) for fields in sample if isinstance(cell := fields.get(column), str)
        ]
        if words and sum(words) >= INFORMATIVE_WORDS * len(sample):
            left.append(column)
    if not left:
        return ()
    role = "text" if "text" in form.columns else "prompt"
    asked = {form.columns.get(part) for part in (role, "instruction", "input")}
    named = [name for name in table.columns if name in (*asked, left[0])]
    template = " ".join(f"{{{name}}}" for name in named)
    names = listing([f"`{name}`" for name in left])
    return (
        f"columns with text are not used: {names}. If an answer depends on "
        f"one, build the {role} from several columns: --column '{role}={template}'",
    )


UNEVEN = 10
"""Ratio of the most to the least frequent class from which on accuracy hides the rare one: a model
that never names the rare class still scores above 90% between the two."""

FEW_HELD_OUT = 100
"""Below this many validation or test rows, the 95% interval of an accuracy of 90% is wider than
plus or minus 6 points (binomial)."""


def warnings(dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]]) -> tuple[str, ...]:
    """Sentences about ``dataset``; ``skipped`` has reason to lines for each split."""
    return (
        *_left_out(dataset, skipped),
        *_repeated(dataset),
        *_classes(dataset),
        *_few(dataset),
    )


def _left_out(dataset: Dataset, skipped: Mapping[Split, Mapping[str, list[int]]]) -> list[str]:
    said = []
    for split, reasons in skipped.items():
        for reason, lines in reasons.items():
            where = listing([str(line) for line in lines], 3)
            said.append(f"{_rows(len(lines))} of {split} left out: {reason} (line {where})")
    if dataset.encoding_problems:
        said.append(
            f"{_rows(dataset.encoding_problems)} with lost or garbled characters "
            "(written in one encoding, read in another)"
        )
    return said


def _repeated(dataset: Dataset) -> list[str]:
    said = []
    if dataset.duplicates:
        said.append(
            f"{_rows(dataset.duplicates)} repeat another row exactly; where sweeper divides the "
            "rows, equal ones go into the same split. "
            f"{remedy(dataset.path, 'duplicates')}"
        )
    if dataset.conflicting:
        said.append(
            f"{_rows(dataset.conflicting)} have an input that occurs with another answer. "
            f"{remedy(dataset.path, 'conflicts')}"
        )
    if dataset.leaked:
        said.append(
            f"{_rows(dataset.leaked)} of the official validation or test split are in train, too: "
            f"scores will look better than they are. {remedy(dataset.path, 'leakage')}"
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
    return [
        f"only {_rows(len(examples))} in {split}: differences will be hard to tell from noise"
        for split, examples in dataset.splits.items()
        if split != "train" and len(examples) < FEW_HELD_OUT
    ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
