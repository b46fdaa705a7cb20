"""Configurations as rows: distances, conditions, and another candidate's seen from this one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from sweeper.plans import Parameter
from sweeper.search.cost_model.axes import (
    CANDIDATE_DISTANCE,
    Axes,
    Axis,
    Encoder,
    axis_of,
    cumulative,
    is_repeat,
)

CHOICES = ("random", "probe")


def rate(default: float) -> Parameter:
    low, high = default / 3, default * 3
    return Parameter(
        kind="float", log=True, low=low, high=high, allowed_low=default / 100,
        allowed_high=default * 100, default=default, source="a test",
    )  # fmt: skip


def axes(default: float) -> Axes:
    start = Parameter(
        kind="categorical", choices=CHOICES, allowed_choices=CHOICES, default="random",
        source="a test",
    )  # fmt: skip
    known = FloatDistribution(default / 100, default * 100, log=True)
    return {
        "learning_rate": axis_of("learning_rate", rate(default), known),
        "head_init": axis_of("head_init", start, CategoricalDistribution(CHOICES)),
    }


HIGH, LOW = axes(2e-4), axes(3e-5)


@given(factor=st.floats(1 / 90, 90))
def test_what_is_so_far_from_its_default_lies_at_the_same_distance_from_ours(factor: float) -> None:
    rows = Encoder(LOW, others=1)
    own = rows.matrix([{"learning_rate": 3e-5 * factor, "head_init": "probe"}])
    seen = rows.translated_matrix(HIGH, [{"learning_rate": 2e-4 * factor, "head_init": "probe"}], 0)
    assert seen[0, :-1] == pytest.approx(own[0, :-1])
    assert seen[0, -1] - own[0, -1] == CANDIDATE_DISTANCE


def test_a_parameter_that_the_other_does_not_have_is_taken_to_be_at_its_default_there() -> None:
    rows = Encoder(LOW, others=2)
    without = {"learning_rate": HIGH["learning_rate"]}
    seen = rows.translated_matrix(without, [{"learning_rate": 2e-4}], 1)
    own = rows.matrix([{"learning_rate": 3e-5, "head_init": "random"}])
    assert seen[0, :-2] == pytest.approx(own[0, :-2])
    assert seen[0, -2:].tolist() == [0.0, CANDIDATE_DISTANCE]


def test_a_condition_that_does_not_hold_there_does_not_hold_here() -> None:
    rows = Encoder(LOW, others=1)
    seen = rows.translated_matrix(HIGH, [{"head_init": "random"}], 0)
    own = rows.matrix([{"head_init": "random"}])
    assert seen[0, :-1] == pytest.approx(own[0, :-1])


def test_the_same_configuration_is_known_again() -> None:
    rows = Encoder(LOW)
    points = [{"learning_rate": 3e-5, "head_init": "random"}]
    other = [{"learning_rate": 3e-5, "head_init": "probe"}, {"learning_rate": 1e-4}]
    tried = rows.matrix(points)
    found = [is_repeat(row, tried) for row in rows.matrix([*points, *other])]
    assert found == [True, False, False]
    assert np.isfinite(rows.matrix(other)).all()


def test_best_practice_is_a_part_of_the_allowed_range() -> None:
    axis = LOW["learning_rate"]
    assert isinstance(axis, Axis)
    half_width = math.log(3) / math.log(100) / 2
    assert axis.best_practice == pytest.approx((0.5 - half_width, 0.5 + half_width))


def test_cumulative_weights_end_at_one() -> None:
    assert cumulative([1.0, 3.0, 4.0]) == [0.125, 0.5, 1.0]
