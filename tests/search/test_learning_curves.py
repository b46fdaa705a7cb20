from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import costs

from sweeper.search.cost_model.trial_costs import TrialCosts, best_so_far
from sweeper.search.pruner import (
    final_costs,
    forecast,
    item_std,
    prior_std,
)
from sweeper.trials import MAX_ITEMS, FirstItems


def one(losses: dict[int, float], loss: float | None = None, rungs: int = 8) -> TrialCosts:
    return costs(loss, state="PRUNED" if loss is None else "COMPLETE", reported=losses, rungs=rungs)


def test_a_trial_is_expected_to_gain_what_others_gained_with_less_doubt_the_more_there_are() -> (
    None
):
    seen = forecast(0.8, [(0.6, 0.3)], 0.1)
    assert seen is not None
    assert math.exp(seen.log_end) == pytest.approx(0.4)
    assert seen.std > 0.1
    more = forecast(0.8, [(0.6, 0.3), (0.5, 0.25), (0.7, 0.35), (0.9, 0.45)], 0.1)
    assert more is not None
    assert more.log_end == pytest.approx(seen.log_end)
    assert more.std < seen.std
    assert forecast(0.8, [], 0.1) is None


def test_where_trials_ended_anywhere_a_forecast_doubts() -> None:
    early = [0.60, 0.70, 0.61, 0.69, 0.62, 0.71]
    final = [0.50, 0.30, 0.45, 0.32, 0.47, 0.31]
    seen = forecast(0.6, list(zip(early, final, strict=True)), 0.1)
    assert seen is not None
    assert seen.std > 0.15


def test_less_is_doubted_the_less_of_the_budget_is_left() -> None:
    doubts = [prior_std(left, 0.0) for left in (0.75, 0.5, 0.125, 0.0)]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[-1] == 0.0


def test_more_is_doubted_where_few_items_tell() -> None:
    assert prior_std(0.0, 0.3) == pytest.approx(0.3)  # which training does not mend
    assert prior_std(0.5, 0.3) == pytest.approx(math.hypot(prior_std(0.5, 0.0), 0.3))


def test_ends_are_of_completed_trials_that_passed_the_rung() -> None:
    trials = [one({1: 0.9, 2: 0.6}, 0.5), one({1: 0.9, 2: 0.6}), one({1: 0.8}, 0.4)]
    assert final_costs(trials, 2) == [(0.6, 0.5)]


def test_the_best_so_far_passes_over_what_is_not_finite() -> None:
    assert best_so_far({1: math.nan, 2: 0.5, 3: 0.7, 4: math.inf, 5: 0.4}) == {
        2: 0.5,
        3: 0.5,
        4: 0.5,
        5: 0.4,
    }


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
        item_std(items(first[drawn].tolist(), 20_000), [items(second[drawn].tolist(), 20_000)], 0.0)
        for drawn in draws[:400]
    ]
    assert np.mean(told) == pytest.approx(np.std(apart) / math.sqrt(2), rel=0.15)


def test_an_easy_draw_flatters_both_and_is_no_luck_of_one() -> None:
    losses = [0.1, 0.9, 0.4, 1.6]
    halved = [loss / 2 for loss in losses]
    assert item_std(items(losses), [items(halved)], 0.0) == pytest.approx(0.0, abs=1e-9)


def test_what_lies_above_the_items_counts_into_the_level() -> None:
    one, other = items([0.01, 0.02, 0.03]), items([0.02, 0.01, 0.02])
    assert item_std(one, [other], 0.5) < item_std(one, [other], 0.0) / 10


def test_there_is_no_luck_where_items_are_all_that_there_are_or_unknown() -> None:
    one, other = items([0.1, 0.2, 0.3], 3), items([0.3, 0.2, 0.1], 3)
    assert item_std(one, [other], 0.0) == 0.0
    assert item_std(None, [other], 0.0) == 0.0
    assert item_std(one, [None], 0.0) == 0.0
    assert item_std(one, [], 0.0) == 0.0
    assert item_std(items([0.1]), [items([0.2])], 0.0) == 0.0
    assert item_std(items([0.0, 0.0]), [items([0.0, 0.1])], 0.0) == 0.0
    assert item_std(items([0.1, 0.2]), [items([0.1, 0.2, 0.3])], 0.0) == 0.0


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
    found = item_std(items(list(first), of), [items(list(second), of)], easier)
    assert 0 <= found < math.inf


def test_items_weigh_as_they_do_in_the_loss() -> None:
    losses, weights = [1.0, 2.0, 4.0], [1.0, 1.0, 2.0]
    found = FirstItems.among(losses, 50, weights)
    assert found.cost == pytest.approx(np.average(losses, weights=weights))
    assert np.mean(found.each) == pytest.approx(found.cost, rel=1e-3)
    assert (found.count, found.of) == (3, 50)


def test_many_items_are_told_by_the_first_of_them() -> None:
    found = items([1.0] * MAX_ITEMS + [3.0] * MAX_ITEMS)
    assert len(found.each) == MAX_ITEMS
    assert found.cost == pytest.approx(2.0)
    assert found.count == 2 * MAX_ITEMS
