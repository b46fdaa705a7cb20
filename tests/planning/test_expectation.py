from __future__ import annotations

from typing import Any

import pytest

from benchmarks.advice.expectation import expected_excess
from sweeper.planning.planner import make_plan
from sweeper.plans import Parameter


@pytest.fixture
def space(scene: Any) -> dict[str, Parameter]:
    return dict(make_plan(*scene(rows=100_000)).candidate("lora").parameters)


def test_the_expected_best_rate_is_the_priors_centre(space: dict[str, Parameter]) -> None:
    rates = [1e-5, 1e-4, 3e-4, 4.5e-4, 1e-3, 3e-3]
    excess = [expected_excess("lora", {"learning_rate": rate, "r": 16}, space) for rate in rates]
    assert min(excess) == excess[3]
    assert excess == sorted(excess[:4], reverse=True) + sorted(excess[4:])


def test_too_high_costs_more_than_too_low(space: dict[str, Parameter]) -> None:
    low = expected_excess("lora", {"learning_rate": 4.5e-5, "r": 16}, space)
    high = expected_excess("lora", {"learning_rate": 4.5e-3, "r": 16}, space)
    assert high > 5 * low


def test_a_small_rank_costs_only_where_there_is_much_to_learn(
    space: dict[str, Parameter],
) -> None:
    def cost(tokens: float) -> float:
        small = expected_excess("lora", {"r": 2, "learning_rate": 4.5e-4}, space, tokens)
        large = expected_excess("lora", {"r": 64, "learning_rate": 4.5e-4}, space, tokens)
        return small - large

    assert cost(50_000_000) > 0.015
    assert cost(1_000) < 0.005


def test_prompt_methods_are_expected_behind_lora(space: dict[str, Parameter]) -> None:
    lora = expected_excess("lora", {}, space)
    assert all(expected_excess(name, {}, {}) > lora for name in ("prefix", "ptuning"))


def test_without_a_rate_only_the_method_counts() -> None:
    assert expected_excess("head", {}, {}) == pytest.approx(0.05)
