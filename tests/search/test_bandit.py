from __future__ import annotations

import pytest

from sweeper.search.bandit import FLOOR_SHARE, next_candidate, shares
from sweeper.search.observations import Observation


def trials(key: str, *losses: float | None) -> list[Observation]:
    return [
        Observation(0, key, {}, loss, loss is not None, False, loss is None, "search", {})
        for loss in losses
    ]


def test_without_results_all_have_equal_shares() -> None:
    assert shares({"a": [], "b": trials("b", None)}) == {"a": 0.5, "b": 0.5}


def test_the_better_candidate_has_the_larger_share_and_none_is_left_with_nothing() -> None:
    found = shares({"a": trials("a", 0.3, 0.31), "b": trials("b", 0.9), "c": []})
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["a"] > found["b"] >= FLOOR_SHARE / 3
    assert found["c"] == pytest.approx(found["a"])


def test_the_one_furthest_behind_its_share_is_next_and_ties_follow_the_rules() -> None:
    scores = {"a": 1.0, "b": 2.0}
    assert next_candidate(["a", "b"], [], scores) == "b"
    assert next_candidate(["a", "b"], trials("b", 0.3), scores) == "a"


def test_a_candidate_that_only_failed_is_left_out_unless_nothing_else_is_there() -> None:
    seen = trials("a", None, None, None) + trials("b", *[0.3] * 9)
    assert next_candidate(["a", "b"], seen, {"a": 1, "b": 1}) == "b"
    assert next_candidate(["a"], seen, {"a": 1}) == "a"
