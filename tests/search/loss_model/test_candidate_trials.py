from __future__ import annotations

from typing import Any

import pytest
from curve_backend import LORA

from sweeper.plans import Parameter
from sweeper.search.engine import RungCount
from sweeper.search.loss_model.axis import Axis, ChoiceAxis, axis_of
from sweeper.search.loss_model.candidate_trials import enough, searched_range, shorter
from sweeper.search.loss_model.observations import Observation, best_so_far
from sweeper.search.optuna_space import distribution
from sweeper.trials import FirstItems


@pytest.fixture
def axis() -> Axis:
    parameter = LORA["learning_rate"]
    made = axis_of("learning_rate", parameter, distribution(parameter))
    assert isinstance(made, Axis)
    return made


def trial(rate: float, loss: float | None, *, failed: bool = False) -> Observation:
    complete = loss is not None
    return Observation(
        0, "lora", {"learning_rate": rate}, loss, complete, False, failed, "search", {}
    )


def values(axis: Axis, seen: list[Observation]) -> tuple[float, float]:
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


FULL = RungCount(rungs=8, first_rung=2, epochs=4.0)
EPOCHS = Parameter(
    kind="categorical", choices=(1.0, 2.0, 4.0), allowed_choices=(1.0, 2.0, 4.0), default=4.0,
    source="test",
)  # fmt: skip
AXES = {"num_train_epochs": ChoiceAxis("num_train_epochs", EPOCHS, (1.0, 2.0, 4.0))}
OVERFITS = {1: 0.7, 2: 0.5, 3: 0.6, 4: 0.55, 5: 0.8, 6: 0.9, 7: 1.1, 8: 1.0}


def ran(losses: dict[int, float], epochs: float = 4.0, **fields: Any) -> Observation:
    known = {"loss": min(losses.values()), "complete": True} | fields
    return Observation(
        number=0,
        key="lora",
        parameters={"learning_rate": 1e-4, "num_train_epochs": epochs},
        running=False,
        failed=False,
        origin="search",
        curve=best_so_far(losses),
        reported=losses,
        rungs=round(2 * epochs),
        **known,
    )


def told(seen: list[Observation]) -> list[tuple[Any, float | None, int]]:
    found = shorter(seen, AXES, FULL)
    return [(one.parameters["num_train_epochs"], one.loss, one.rungs) for one in found]


def test_a_trial_tells_what_it_had_where_shorter_ones_would_have_ended() -> None:
    rising = {k: 1 / k for k in range(1, 9)}
    assert told([ran(rising)]) == [(1.0, 0.5, 2), (2.0, 0.25, 4)]
    assert told([ran(OVERFITS)]) == [(1.0, 0.5, 2), (2.0, 0.5, 4)]
    half = {k: loss for k, loss in rising.items() if k <= 4}
    assert told([ran(half, epochs=2.0)]) == [(1.0, 0.5, 2)]


@pytest.mark.parametrize("fields", [{"complete": False}, {"loss": None}])
def test_only_what_completed_tells(fields: dict[str, Any]) -> None:
    assert told([ran(OVERFITS, **fields)]) == []


def test_what_rungs_miss_of_all_items_is_added() -> None:
    items = {k: FirstItems.among([loss] * 3, 100) for k, loss in OVERFITS.items()}
    # At its last rung it has 1.3 on all items and 1.0 on the first ones.
    one = ran({**OVERFITS, 8: 1.3}, items=items, loss=0.8)
    assert [loss for _, loss, _ in told([one])] == pytest.approx([0.8, 0.8])
    assert one.best_rung == 2


def test_without_epochs_in_the_space_nothing_is_told_or_moved() -> None:
    assert shorter([ran(OVERFITS)], {}, FULL) == []
    assert enough(ran(OVERFITS), {}, FULL) == {}


@pytest.mark.parametrize(
    ("best", "expected"),
    [(1, {"num_train_epochs": 1.0}), (2, {"num_train_epochs": 1.0}),
     (3, {"num_train_epochs": 2.0}), (4, {"num_train_epochs": 2.0}), (5, {}), (8, {})],
)  # fmt: skip
def test_as_many_epochs_are_enough_as_have_the_best_rung(
    best: int, expected: dict[str, float]
) -> None:
    losses = {k: 1.0 + abs(k - best) / 10 for k in range(1, 9)}
    assert enough(ran(losses), AXES, FULL) == expected
