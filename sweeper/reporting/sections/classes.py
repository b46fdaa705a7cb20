"""Which classes are confused? Figures of each class on the test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from pydantic import Field

from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study.item_scores import model_title, scores_by_model, trial_name
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Number, Table, with_json_pointers
from sweeper.reporting.document import Report
from sweeper.safe_text import LABEL_CHARACTERS, clean, shortened

HEADING = Heading(100, "by-class", "Classes")

# Maximum number of classes for a confusion matrix; with more, the confusions are listed.
MAX_MATRIX_CLASSES = 15
# Maximum number of rows of a table; report.json has all of them.
MAX_ROWS = 20
_SHARES = ("precision", "recall", "F1")


class ClassRow(Record):
    """One class on the test split. A share is None if its denominator is 0."""

    label: str
    rows: int = Field(description="rows of the class in all splits")
    items: int = Field(description="test items of the class")
    chosen: int = Field(description="test items that were predicted as the class")
    right: int = Field(description="test items of the class that were predicted as it")
    precision: float | None
    recall: float | None
    f1: float | None


class Figures(Record):
    """One model's figures by class, in the order of class names.

    ``confusion``: (true class, predicted class, test items) of every pair, by index in ``classes``.
    """

    name: str
    title: str
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, int, int], ...]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """Precision, recall and F1 of every class, and the confusions, of the recommended trial.

    Only the trial's first training counts, so that each item is counted once.
    """
    recommended = findings.verdict.recommended_trial
    name = "" if recommended is None else trial_name(recommended)
    matrices = [score.confusion for score in scores_by_model(run).get(name, ()) if score.confusion]
    label_facts = run.plan.facts.data.labels
    if not matrices or not label_facts:
        return None
    # Class numbers are indices of the sorted names.
    labels = sorted(label_facts, key=lambda label: label.label)
    pairs = matrices[0]
    if max(max(true, predicted) for true, predicted, _ in pairs) >= len(labels):
        return None  # an edited file
    items, predictions = Counter[int](), Counter[int]()
    for true, predicted, count in pairs:
        items[true] += count
        predictions[predicted] += count
    hits = Counter({true: count for true, predicted, count in pairs if true == predicted})
    rows = tuple(
        ClassRow(
            label=shortened(clean(label.label), LABEL_CHARACTERS),
            rows=label.rows,
            items=items[n],
            chosen=predictions[n],
            right=hits[n],
            precision=hits[n] / predictions[n] if predictions[n] else None,
            recall=hits[n] / items[n] if items[n] else None,
            f1=2 * hits[n] / total if (total := items[n] + predictions[n]) else None,
        )
        for n, label in enumerate(labels)
    )
    return Figures(name=name, title=model_title(run, name), classes=rows, confusion=pairs)


def finding(figures: Figures, report: Report) -> str:
    """The most common confusion."""
    errors = [cell for cell in figures.confusion if cell[0] != cell[1]]
    if not errors:
        return "No class was taken for another one on the test split."
    true, predicted, count = min(errors, key=lambda cell: (-cell[2], cell))
    row, other = figures.classes[true], figures.classes[predicted]
    return f"{row.label} is taken for {other.label} in {count} of {row.items:,} test items."


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A table of classes, then the confusion matrix or the most common confusions."""
    yield _class_table(figures)
    yield (
        _confusion_matrix(figures)
        if len(figures.classes) <= MAX_MATRIX_CLASSES
        else _confusion_list(figures)
    )


def _class_table(figures: Figures) -> Table:
    """The classes, those with the lowest F1 first."""
    columns: list[Column[ClassRow]] = [
        Column.of("class", "/label"),
        Number.of("rows", "/rows", "{:,}".format),
        Number.of("test items", "/items", "{:,}".format),
        *(Number.of(name, f"/{name.lower()}", words.percent, "%") for name in _SHARES),
    ]
    ranking = sorted(
        with_json_pointers(figures.classes, "/sections/by-class/classes"),
        key=lambda entry: (2.0 if entry[1].f1 is None else entry[1].f1, entry[1].label),
    )
    shown = ranking[:MAX_ROWS]
    rows = [row.rows for row in figures.classes]
    note = f"Rows per class in all splits: {min(rows):,} to {max(rows):,}."
    if len(ranking) > len(shown):
        note += f" The {len(shown)} of {len(ranking)} classes with the lowest F1; all are in "
        note += "report.json."
    caption = f"Class by class on the test split: {figures.title}, lowest F1 first"
    return Table.of("classes", caption, columns, shown, note=note)


def _confusion_matrix(figures: Figures) -> Table:
    """Test items by true class (rows) and predicted class (columns), without empty classes."""
    counts = {(true, predicted): count for true, predicted, count in figures.confusion}
    rows = [n for n, row in enumerate(figures.classes) if row.items]
    predicted = [(n, row.label) for n, row in enumerate(figures.classes) if row.items or row.chosen]

    def items(predicted: int, true: int) -> str:
        return str(counts.get((true, predicted), ""))

    columns: list[Column[int]] = [Column("true class", lambda true: figures.classes[true].label)]
    columns += [Number(label, partial(items, n)) for n, label in predicted]
    return Table.of(
        "confusion",
        f"Confusion matrix on the test split: {figures.title}; rows are true classes, "
        "columns predicted ones, in test items",
        columns,
        with_json_pointers(rows),
    )


def _confusion_list(figures: Figures) -> Table:
    """The most common confusions."""
    errors = [cell for cell in figures.confusion if cell[0] != cell[1]]
    errors.sort(key=lambda cell: (-cell[2], cell))
    columns: list[Column[tuple[int, int, int]]] = [
        Column("true class", lambda cell: figures.classes[cell[0]].label),
        Column("taken for", lambda cell: figures.classes[cell[1]].label),
        Number("test items", lambda cell: str(cell[2])),
        Number("of", lambda cell: f"{figures.classes[cell[0]].items:,}"),
    ]
    return Table.of(
        "confusion",
        f"Most common confusions on the test split: {figures.title}",
        columns,
        with_json_pointers(errors[:MAX_ROWS]),
        note="The whole confusion matrix is in report.json.",
    )
