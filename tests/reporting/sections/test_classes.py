"""Which classes are confused: counted by hand, and shown as many as a reader can take in."""

import pytest
from section_figures import figures_of

from sweeper.reporting.sections import classes
from sweeper.reporting.sections.classes import ClassRow, Figures
from sweeper.reporting.write import html
from sweeper.trials import TestSeal


def reseal(run, change):
    seal = TestSeal.read(run.test_seal)
    seal.model_copy(update={"scores": tuple(change(score) for score in seal.scores)}).write(
        run.test_seal
    )


def test_classes_are_counted_by_hand(make):
    run = make(trials=4)
    confusion = ((0, 0, 6), (0, 1, 2), (1, 1, 1), (1, 0, 1))
    reseal(run, lambda score: score.model_copy(update={"confusion": confusion}))
    found = figures_of(run, classes)
    first, second, third = found.classes[:3]
    assert (first.items, first.chosen, first.right) == (8, 7, 6)
    assert (first.precision, first.recall) == (6 / 7, 6 / 8)
    assert first.f1 == pytest.approx(12 / 15)
    assert second.f1 == pytest.approx(2 / 5)
    assert (third.items, third.precision, third.recall, third.f1) == (0, None, None, None)


def test_nothing_is_said_of_classes_before_the_test_split_was_opened(make):
    assert figures_of(make(trials=3, seal=False), classes) is None


def test_many_classes_are_shown_by_their_commonest_confusions(report):
    document = report(trials=4)
    rows = tuple(
        ClassRow(
            label=f"c{n}", rows=9, items=4, chosen=4, right=3, precision=0.75, recall=0.75, f1=0.75
        )
        for n in range(40)
    )
    pairs = tuple((n, n, 3) for n in range(40)) + tuple((n, (n + 1) % 40, 1) for n in range(40))
    found = Figures(name="trial-0", title="trial 0", classes=rows, confusion=pairs)
    sections = {**document.sections, "by-class": found.model_dump(mode="json")}
    page = html(document.model_copy(update={"sections": sections}))
    assert "Most common confusions" in page
    assert "The 20 of 40 classes" in page


def test_a_matrix_has_no_zeros_and_no_empty_classes(report):
    document = report(trials=4)
    counts = ((5, 5, 4), (3, 3, 2), (0, 0, 0))  # items, taken for it, right
    rows = tuple(
        ClassRow(label=f"c{n}", rows=9, items=items, chosen=chosen, right=right,
                 precision=None, recall=None, f1=None)
        for n, (items, chosen, right) in enumerate(counts)
    )  # fmt: skip
    confusion = ((0, 0, 5), (1, 1, 3))
    found = Figures(name="trial-1", title="trial 1", classes=rows, confusion=confusion)
    _, matrix = classes.blocks(found, document)
    assert [column.title for column in matrix.columns] == ["true class", "c0", "c1"]
    assert [[cell.text for cell in row.cells] for row in matrix.rows] == [
        ["c0", "5", ""],
        ["c1", "", "3"],
    ]
