from __future__ import annotations

from sweeper.search.bandit import FLOOR_SHARE, alive, in_turn
from sweeper.search.observations import Observation

SCORES = {"a": 1.0, "b": 2.0}


def trials(key: str, *losses: float | None, seconds: float = 0.0) -> list[Observation]:
    return [
        Observation(
            0, key, {}, loss, loss is not None, False, loss is None, "search", {}, {}, seconds
        )
        for loss in losses
    ]


def test_what_was_never_tried_comes_first_as_the_rules_rank_it() -> None:
    assert in_turn(["a", "b"], [], SCORES) == "b"
    assert in_turn(["a", "b"], trials("b", 0.3), SCORES) == "a"


def test_a_candidate_under_the_least_share_has_its_turn_and_else_promises_decide() -> None:
    few = trials("a", 0.3) + trials("b", *[0.2] * 9)
    assert FLOOR_SHARE / 2 > 1 / 10
    assert in_turn(["a", "b"], few, SCORES) == "a"
    assert in_turn(["a", "b"], trials("a", 0.3, 0.3) + trials("b", *[0.2] * 9), SCORES) is None


def test_shares_are_of_seconds_where_they_are_known() -> None:
    seen = trials("a", 0.3, 0.3, seconds=1.0) + trials("b", *[0.2] * 9, seconds=10.0)
    assert in_turn(["a", "b"], seen, SCORES) == "a"
    untimed = trials("a", 0.3, 0.3, seconds=1.0) + trials("b", *[0.2] * 9)
    assert in_turn(["a", "b"], untimed, SCORES) is None


def test_a_candidate_that_only_failed_is_left_out_unless_nothing_else_is_there() -> None:
    seen = trials("a", None, None, None) + trials("b", *[0.3] * 9)
    assert alive(["a", "b"], seen) == ["b"]
    assert alive(["a"], seen) == ["a"]
    assert alive(["a", "b"], seen + trials("a", 0.4)) == ["a", "b"]
