from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.search.item_noise import attribute, luck, noted_items
from sweeper.trials import MOST_ITEMS, FirstItems


def items(losses: list[float], of: int = 10_000) -> FirstItems:
    return FirstItems.among(losses, of)


def test_luck_is_what_other_items_would_have_changed() -> None:
    """Against drawing items anew: two models that agree on most items and differ on some."""
    generator = np.random.default_rng(0)
    shared = generator.lognormal(-1, 0.8, 20_000)
    first, second = (shared * generator.lognormal(0, 0.4, 20_000) for _ in range(2))
    draws = [generator.choice(20_000, 100, replace=False) for _ in range(2_000)]
    apart = [math.log(first[drawn].mean() / second[drawn].mean()) for drawn in draws]
    told = [
        luck(items(first[drawn].tolist(), 20_000), [items(second[drawn].tolist(), 20_000)], 0.0)
        for drawn in draws[:400]
    ]
    assert np.mean(told) == pytest.approx(np.std(apart) / math.sqrt(2), rel=0.15)


def test_an_easy_draw_flatters_both_and_is_no_luck_of_one() -> None:
    losses = [0.1, 0.9, 0.4, 1.6]
    halved = [loss / 2 for loss in losses]
    assert luck(items(losses), [items(halved)], 0.0) == pytest.approx(0.0, abs=1e-9)


def test_what_lies_above_the_items_counts_into_the_level() -> None:
    one, other = items([0.01, 0.02, 0.03]), items([0.02, 0.01, 0.02])
    assert luck(one, [other], 0.5) < luck(one, [other], 0.0) / 10


def test_there_is_no_luck_where_items_are_all_that_there_are_or_unknown() -> None:
    one, other = items([0.1, 0.2, 0.3], 3), items([0.3, 0.2, 0.1], 3)
    assert luck(one, [other], 0.0) == 0.0
    assert luck(None, [other], 0.0) == 0.0
    assert luck(one, [None], 0.0) == 0.0
    assert luck(one, [], 0.0) == 0.0
    assert luck(items([0.1]), [items([0.2])], 0.0) == 0.0
    assert luck(items([0.0, 0.0]), [items([0.0, 0.1])], 0.0) == 0.0
    assert luck(items([0.1, 0.2]), [items([0.1, 0.2, 0.3])], 0.0) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=400),
    st.integers(0, 1000),
    st.floats(-1, 1),
)
def test_luck_is_finite_whatever_items_say(
    pairs: list[tuple[float, float]], more: int, easier: float
) -> None:
    first, second = zip(*pairs, strict=True)
    of = len(pairs) + more
    found = luck(items(list(first), of), [items(list(second), of)], easier)
    assert 0 <= found < math.inf


def test_items_weigh_as_they_do_in_the_loss() -> None:
    losses, weights = [1.0, 2.0, 4.0], [1.0, 1.0, 2.0]
    found = FirstItems.among(losses, 50, weights)
    assert found.loss == pytest.approx(np.average(losses, weights=weights))
    assert np.mean(found.each) == pytest.approx(found.loss, rel=1e-3)
    assert (found.count, found.of) == (3, 50)


def test_many_items_are_told_by_the_first_of_them() -> None:
    found = items([1.0] * MOST_ITEMS + [3.0] * MOST_ITEMS)
    assert len(found.each) == MOST_ITEMS
    assert found.loss == pytest.approx(2.0)
    assert found.count == 2 * MOST_ITEMS


def test_a_study_keeps_them_by_rung() -> None:
    study = optuna.create_study()
    trial = study.ask()
    told = {2: items([0.1, 0.2]), 4: items([0.05, 0.1])}
    for rung, one in told.items():
        trial.set_user_attr(*attribute(rung, one))
    trial.set_user_attr("sweeper:seconds", 3.0)
    assert noted_items(study.trials[0].user_attrs) == told
