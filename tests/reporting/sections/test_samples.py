"""Which items are shown with their answers."""

import pytest
from section_figures import figures_of

from sweeper.findings.figures import NotMeasured
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


@pytest.mark.parametrize("changes", [{"seal": False}, {"trials": 0, "seal": False}])
def test_nothing_is_shown_before_the_test_split_is_scored(make, changes):
    assert isinstance(figures_of(make(**changes), samples), NotMeasured)
