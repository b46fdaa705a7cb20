"""Which classes are confused? Figures of each class on the test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from pydantic import Field

from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings.record import Findings
from sweeper.findings.study.item_scores import entries, model_title, trial_name
from sweeper.findings.study.reading import RunFiles
from sweeper.redaction import clean
from sweeper.reporting.blocks import Block, Column, Number, Table, placed
from sweeper.reporting.document import Report
from sweeper.reporting.parts import percent
from sweeper.visible import LABEL_CHARACTERS, shortened

HEADING = Heading(100, "by-class", "Classes")

# More classes than this make a matrix that nobody reads; the confusions are listed then.
MATRIX = 15
# Lines of a table of classes or confusions; report.json has all of them.
LINES = 20
_SHARES = ("precision", "recall", "F1")


class ClassRow(Record):
    """One class on the test split. A share is None where nothing is in it."""

    label: str
    rows: int = Field(description="of the class, over all splits")
    items: int = Field(description="test items of the class")
    chosen: int = Field(description="test items that were taken for it")
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


class Figures(Record):
    """One model, class by class, in the order of the names.

    ``confusion``: (true class, predicted class, test items) of every pair that occurred, by place.
    """

    name: str
    title: str
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, int, int], ...]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """Precision, recall and F1 of every class, and the confusions, of the recommended trial.

    If it has several seeds, the first training counts, so that items are counted once.
    """
    recommended = findings.verdict.recommended_trial
    name = "" if recommended is None else trial_name(recommended)
    found = [score.confusion for score in entries(run).get(name, ()) if score.confusion]
    known = run.plan.facts.data.labels
    if not found or not known:
        return None
    # Class numbers are places among the sorted names.
    labels = sorted(known, key=lambda label: label.label)
    pairs = found[0]
    if max(max(true, said) for true, said, _ in pairs) >= len(labels):
        return None
    items, chosen = Counter[int](), Counter[int]()
    for true, said, count in pairs:
        items[true] += count
        chosen[said] += count
    right = Counter({true: count for true, said, count in pairs if true == said})
    rows = tuple(
        ClassRow(
            label=shortened(clean(label.label), LABEL_CHARACTERS),
            rows=label.rows,
            items=items[n],
            chosen=chosen[n],
            right=right[n],
            precision=right[n] / chosen[n] if chosen[n] else None,
            recall=right[n] / items[n] if items[n] else None,
            f1=2 * right[n] / (items[n] + chosen[n]) if items[n] + chosen[n] else None,
        )
        for n, label in enumerate(labels)
    )
    return Figures(name=name, title=model_title(run, name), classes=rows, confusion=pairs)


def finding(figures: Figures, report: Report) -> str:
    """The most common confusion."""
    wrong = [one for one in figures.confusion if one[0] != one[1]]
    if not wrong:
        return "No class was taken for another one on the test split."
    true, said, count = min(wrong, key=lambda one: (-one[2], one))
    names, items = figures.classes, figures.classes[true].items
    return f"{names[true].label} is taken for {names[said].label} in {count} of {items:,} items."


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """Figures of each class, and which classes are confused."""
    yield _classes(figures)
    yield _matrix(figures) if len(figures.classes) <= MATRIX else _confusions(figures)


def _classes(found: Figures) -> Table:
    """The classes, those with the lowest F1 first."""
    columns: list[Column[ClassRow]] = [
        Column.of("class", "/label"),
        Number.of("rows", "/rows", "{:,}".format),
        Number.of("test items", "/items", "{:,}".format),
        *(Number.of(name, f"/{name.lower()}", percent, "%") for name in _SHARES),
    ]
    ranked = sorted(
        placed(found.classes, "/sections/by-class/classes"),
        key=lambda place: (2.0 if place[1].f1 is None else place[1].f1, place[1].label),
    )
    shown = ranked[:LINES]
    rows = [row.rows for row in found.classes]
    note = f"Rows per class in all splits: {min(rows):,} to {max(rows):,}."
    if len(ranked) > len(shown):
        note += f" The {len(shown)} of {len(ranked)} classes with the lowest F1; all are in "
        note += "report.json."
    caption = f"Class by class on the test split: {found.title}, lowest F1 first"
    return Table.of("classes", caption, columns, shown, note=note)


def _matrix(found: Figures) -> Table:
    """Test items by true class (rows) and predicted class (columns), without empty classes."""
    counts = {(true, said): count for true, said, count in found.confusion}
    rows = [n for n, row in enumerate(found.classes) if row.items]
    said = [(n, row.label) for n, row in enumerate(found.classes) if row.items or row.chosen]

    def items(said: int, true: int) -> str:
        return str(counts.get((true, said), ""))

    columns: list[Column[int]] = [Column("true class", lambda true: found.classes[true].label)]
    columns += [Number(label, partial(items, n)) for n, label in said]
    return Table.of(
        "confusion",
        f"Confusion matrix on the test split: {found.title}; rows are true classes, "
        "columns what was predicted, in test items",
        columns,
        placed(rows),
    )


def _confusions(found: Figures) -> Table:
    """The most common mistakes, where a matrix would be too large."""
    wrong = [one for one in found.confusion if one[0] != one[1]]
    wrong.sort(key=lambda one: (-one[2], one))
    columns: list[Column[tuple[int, int, int]]] = [
        Column("true class", lambda one: found.classes[one[0]].label),
        Column("taken for", lambda one: found.classes[one[1]].label),
        Number("test items", lambda one: str(one[2])),
        Number("of", lambda one: f"{found.classes[one[0]].items:,}"),
    ]
    return Table.of(
        "confusion",
        f"Most common confusions on the test split: {found.title}",
        columns,
        placed(wrong[:LINES]),
        note="The whole confusion matrix is in report.json.",
    )
