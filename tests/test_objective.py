"""Values, and the costs that are minimised in their place."""

import pytest

from sweeper.objective import LOSS, Objective
from sweeper.trials import RungReport

ACCURACY = Objective(
    name="accuracy", title="accuracy", metric="accuracy", computed_from="classes",
    higher_is_better=True, best=1.0,
)  # fmt: skip
ROUGE = Objective(
    name="rouge_l",
    title="ROUGE-L",
    metric="rougeL",
    computed_from="answers",
    higher_is_better=True,
    best=1.0,
)


@pytest.mark.parametrize(
    "one", [LOSS, ACCURACY, ROUGE, Objective(function=True, computed_from="classes")]
)
def test_a_value_comes_back_from_its_cost(one):
    assert one.value(one.cost(0.7)) == pytest.approx(0.7)
    assert one.study_value(one.study_value(0.7)) == pytest.approx(0.7)
    assert one.cost(0.9) < one.cost(0.1) or not one.higher_is_better


def test_a_rung_of_a_dear_objective_has_the_loss_in_the_studys_direction():
    assert not ROUGE.at_rungs
    assert ROUGE.study_value(2.5) == -2.5
    assert ACCURACY.study_value(0.25) == 0.75
    assert "writing answers is slow" in ROUGE.pruning
    assert "no cost" in ACCURACY.pruning


@pytest.mark.parametrize(("one", "cost"), [(LOSS, 0.4), (ACCURACY, 0.25), (ROUGE, 0.4)])
def test_the_cost_at_a_rung_is_the_objectives_where_it_is_measured_there(one, cost):
    measured = 0.75 if one is ACCURACY else None
    report = RungReport(rung=1, validation_loss=0.4, objective=measured)
    assert one.cost_at_rung(report) == cost
