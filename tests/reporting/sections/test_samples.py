"""Which items are shown with their answers."""

import pytest
from section_figures import figures_of

from sweeper.findings.findings import NotMeasured
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import samples


def test_items_of_classes_are_those_that_changed_and_the_surest_errors(make):
    found = figures_of(make(trials=9, prune=False), samples)
    assert found.models[0].role == "base"
    assert "winner" in {model.role for model in found.models}
    place = next(i for i, model in enumerate(found.models) if model.role == "winner")
    groups = {group.kind: group for group in found.groups}
    for kind, sign in (("improved", 1), ("worsened", -1)):
        for item in groups[kind].items:
            assert sign * (item.answers[0].loss - item.answers[place].loss) > 0
    gains = [i.answers[0].loss - i.answers[place].loss for i in groups["improved"].items]
    assert gains == sorted(gains, reverse=True)
    wrong = groups["confident"].items
    assert all(item.answers[place].text != item.reference for item in wrong)
    assert all(item.asked == f"question {item.item}" for item in wrong)


def test_written_answers_stand_side_by_side_and_can_be_left_out(make):
    run = make(task="instruction", strategies=("lora", "full"), model="packaged:smollm2", trials=6)
    figures = figures_of(run, samples)
    item = figures.groups[0].items[0]
    said = [answer.text for answer in item.answers]
    assert said == [f"{model.name} says {item.item}" for model in figures.models]
    without = report_of(run, texts=False)
    assert "says" not in without.to_json()
    assert "left out" in without.missing["samples"].reason


def test_the_open_table_holds_fewer_items_the_longer_their_texts_are(make):
    run = make(trials=9, prune=False)
    document, figures = report_of(run), figures_of(run, samples)

    def open_rows(words_each):
        texts = {"asked": "w " * words_each, "reference": "w"}
        groups = tuple(
            group.model_copy(
                update={"items": tuple(item.model_copy(update=texts) for item in group.items)}
            )
            for group in figures.groups
        )
        table = next(samples.blocks(figures.model_copy(update={"groups": groups}), document))
        return table.rows

    assert 8 >= len(open_rows(1)) > len(open_rows(15)) > len(open_rows(500)) == 2
    assert [row.cells[0].text for row in open_rows(500)] == ["most improved", "most worsened"]


@pytest.mark.parametrize("changes", [{"seal": False}, {"trials": 0, "seal": False}])
def test_nothing_is_shown_before_the_test_split_is_scored(make, changes):
    assert isinstance(figures_of(make(**changes), samples), NotMeasured)
