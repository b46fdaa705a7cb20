from __future__ import annotations

from dataclasses import replace

from spaces import costs

from sweeper.plans import Origin
from sweeper.search import sampler
from sweeper.search.cost_model.trial_costs import TrialCosts


def trials(
    key: str, *losses: float | None, seconds: float = 0.0, origin: Origin = "search"
) -> list[TrialCosts]:
    return [
        costs(
            loss,
            key=key,
            state="FAIL" if loss is None else "COMPLETE",
            origin=origin,
            seconds=seconds,
        )
        for loss in losses
    ]


def by_key(seen: list[TrialCosts]) -> dict[str, list[TrialCosts]]:
    return {key: [one for one in seen if one.key == key] for key in {one.key for one in seen}}


def alive(keys: list[str], seen: list[TrialCosts]) -> list[str]:
    return sampler.without_failed(keys, by_key(seen))


def in_turn(keys: list[str], seen: list[TrialCosts]) -> str | None:
    return sampler.next_undersampled(keys, by_key(seen))


def test_what_was_never_tried_comes_first_as_the_rules_rank_it() -> None:
    assert in_turn(["b", "a"], []) == "b"
    assert in_turn(["b", "a"], trials("b", 0.3)) == "a"


def test_a_candidate_that_only_failed_is_left_out_unless_nothing_else_is_there() -> None:
    seen = trials("a", None, None, None) + trials("b", *[0.3] * 9)
    assert alive(["a", "b"], seen) == ["b"]
    assert alive(["a"], seen) == ["a"]
    assert alive(["a", "b"], seen + trials("a", 0.4)) == ["a", "b"]


def test_no_candidate_is_judged_by_its_default_alone() -> None:
    defaults = trials("a", 0.9, origin="default") + trials("b", 0.2, origin="default")
    turns = []
    seen = list(defaults)
    for _ in range(12):
        turn = in_turn(["a", "b"], seen) or "b"  # all promises speak for b
        turns.append(turn)
        seen += trials(turn, 0.5)
    assert turns == ["b", "b", "b", "a", "b", "b", "b", "a", "b", "b", "b", "b"]


def test_many_candidates_that_are_young_take_turns_and_no_more_than_their_share() -> None:
    keys = ["a", "b", "c", "d"]
    seen = [one for key in keys for one in trials(key, 0.5, origin="default")]
    turns = []
    for _ in range(20):
        turn = in_turn(keys, seen) or "d"
        turns.append(turn)
        seen += trials(turn, 0.5)
    assert turns[:8] == ["d", "d", "d", "d", "d", "a", "b", "c"]
    assert {key: turns.count(key) for key in "abc"} == {"a": 2, "b": 2, "c": 2}


def test_a_candidate_whose_trial_still_runs_is_not_given_another_one() -> None:
    running = [replace(one, result=None) for one in trials("a", 0.0)]
    seen = trials("a", 0.9, origin="default") + trials("b", *[0.2] * 4)
    assert in_turn(["a", "b"], seen) == "a"
    assert in_turn(["a", "b"], seen + running) is None
