"""Values and their costs; how far trials are beyond limits, and how they compare."""

from __future__ import annotations

import pytest

from sweeper.objective import (
    LOSS,
    Limit,
    Objective,
    is_beyond,
    limits_of,
    order,
    titles_beyond,
    violation,
)
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.trials import Measure, RungReport

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


SIZE = Limit("size", 2.0, "size", 4, "Weigh it.")
SPEED = Limit("seconds", 1.0, "time", 4, "Time it.")


def measured(value: float, base: float | None = None) -> Measure:
    return Measure(title="more", unit="kg", value=value, base=base)


def test_the_largest_excess_over_all_limits_counts() -> None:
    measures = {"size": measured(7.0, base=4.0), "seconds": measured(1.5), "colour": measured(9.0)}
    assert violation(measures, [SIZE, SPEED]) == pytest.approx(1.0)
    assert violation(measures, [SPEED]) == pytest.approx(0.5)
    assert titles_beyond(measures, [SIZE, SPEED]) == ("size", "time")


def test_what_was_not_measured_is_beyond_no_limit() -> None:
    assert violation({}, [SIZE]) is violation({"size": measured(9.0)}, []) is None
    assert [is_beyond(one) for one in (None, 0.0, -1.0, 0.1)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "holds"),
    [("size", True), ("size.of.shoes", True), ("sizes", False), ("a.size", False)],
)
def test_a_limit_holds_for_a_measure_and_those_below_it(name: str, holds: bool) -> None:
    assert SIZE.holds_for(name) is holds


def test_trials_within_come_first_and_those_beyond_by_their_excess() -> None:
    trials = [(0.1, 3.0), (0.2, 1.0), (0.9, None), (0.8, -1.0), (0.3, 1.0)]
    ranked = sorted(trials, key=lambda trial: order(*trial))
    assert ranked == [(0.8, -1.0), (0.9, None), (0.2, 1.0), (0.3, 1.0), (0.1, 3.0)]


@pytest.mark.parametrize(
    ("change", "low", "sure"),
    [(3.0, 2.1, True), (3.0, 1.9, False), (3.0, None, True), (1.0, None, False)],
)
def test_what_stops_a_trial_is_beyond_noise_where_noise_is_known(
    change: float, low: float | None, sure: bool
) -> None:
    assert SIZE.is_surely_broken(change, low) is sure
    in_points = None if low is None else 100 * low
    assert SIZE.is_surely_broken(100 * change, in_points, 100) is sure


def test_a_call_has_the_limits_that_features_make_of_its_request() -> None:
    plain = Spec(task="instruction", models=(ModelSpec(id="m"),), data=DataSpec(path="d.jsonl"))
    assert limits_of(plain) == ()
    asked = plain.model_copy(update={"features": type(plain.features).model_validate(
        {"forgetting": {"max_points": 3.0}}
    )})  # fmt: skip
    (limit,) = limits_of(asked)
    assert (limit.most, limit.title, limit.every) == (0.03, "forgetting", 2)
    assert limit.holds_for("general.text")
