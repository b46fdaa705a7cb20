from __future__ import annotations

from typing import Any

import pytest

from sweeper.planning.plan import Parameter
from sweeper.search.axis import Choice
from sweeper.search.engine import RungCount
from sweeper.search.observations import Observation, best_so_far
from sweeper.search.shorter_trials import enough, shorter
from sweeper.trials import FirstItems

FULL = RungCount(rungs=8, first_rung=2, epochs=4.0)
EPOCHS = Parameter(
    kind="categorical", choices=(1.0, 2.0, 4.0), allowed_choices=(1.0, 2.0, 4.0), default=4.0,
    source="test",
)  # fmt: skip
AXES = {"num_train_epochs": Choice("num_train_epochs", EPOCHS, (1.0, 2.0, 4.0))}
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
