from __future__ import annotations

import pytest
from curve_backend import LORA
from spaces import costs

from sweeper.search.cost_model.axes import Axis, axis_of
from sweeper.search.cost_model.cost_model import searched_range
from sweeper.search.cost_model.trial_costs import TrialCosts
from sweeper.search.optuna_space import distribution


@pytest.fixture
def axis() -> Axis:
    parameter = LORA["learning_rate"]
    made = axis_of("learning_rate", parameter, distribution(parameter))
    assert isinstance(made, Axis)
    return made


def trial(rate: float, loss: float | None, *, failed: bool = False) -> TrialCosts:
    return costs(loss, state="FAIL" if failed else "COMPLETE", parameters={"learning_rate": rate})


def values(axis: Axis, seen: list[TrialCosts]) -> tuple[float, float]:
    low, high = searched_range(axis, seen)
    return float(axis.value(low)), float(axis.value(high))


def test_the_search_starts_in_the_best_practice_range(axis: Axis) -> None:
    assert values(axis, []) == pytest.approx((1e-4, 3e-4))
    assert values(axis, [trial(3e-4, 0.1)] * 2) == pytest.approx((1e-4, 3e-4))


def test_it_stays_there_while_the_best_trial_lies_inside(axis: Axis) -> None:
    seen = [trial(1.7e-4, 0.1), trial(1e-4, 0.3), trial(3e-4, 0.3)]
    assert values(axis, seen) == pytest.approx((1e-4, 3e-4))


def test_it_widens_by_one_width_where_the_best_trial_presses_and_again(axis: Axis) -> None:
    seen = [trial(3e-4, 0.1), trial(1e-4, 0.3), trial(2e-4, 0.2)]
    assert values(axis, seen) == pytest.approx((1e-4, 9e-4))
    seen.append(trial(9e-4, 0.05))
    assert values(axis, seen) == pytest.approx((1e-4, 2.7e-3))


def test_it_never_leaves_the_allowed_range(axis: Axis) -> None:
    seen = [trial(1e-2, 0.1), trial(1e-4, 0.3), trial(2e-4, 0.2)]
    assert values(axis, seen)[1] == pytest.approx(1e-2)


def test_it_stops_half_way_to_a_trial_that_diverged(axis: Axis) -> None:
    seen = [trial(3e-4, 0.1), trial(1e-4, 0.3), trial(2e-4, 0.2)]
    seen.append(trial(7.5e-4, None, failed=True))
    assert values(axis, seen)[1] == pytest.approx((3e-4 * 7.5e-4) ** 0.5)
