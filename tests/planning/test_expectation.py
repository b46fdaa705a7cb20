from __future__ import annotations

from typing import Any

import pytest

from benchmarks.advice.expectation import expected_excess
from sweeper.planning.planner import make_plan
from sweeper.plans import Parameter, Quality

LORA = Quality(mean=0.0, sd=0.0)


@pytest.fixture
def space(scene: Any) -> dict[str, Parameter]:
    return dict(make_plan(*scene(rows=100_000)).candidate("lora").parameters)


def test_the_expected_best_rate_is_the_priors_centre(space: dict[str, Parameter]) -> None:
    rates = [1e-5, 1e-4, 3e-4, 4.5e-4, 1e-3, 3e-3]
    excess = [expected_excess(LORA, {"learning_rate": rate, "r": 16}, space) for rate in rates]
    assert min(excess) == excess[3]
    assert excess == sorted(excess[:4], reverse=True) + sorted(excess[4:])


def test_too_high_costs_more_than_too_low(space: dict[str, Parameter]) -> None:
    low = expected_excess(LORA, {"learning_rate": 4.5e-5, "r": 16}, space)
    high = expected_excess(LORA, {"learning_rate": 4.5e-3, "r": 16}, space)
    assert high > 5 * low


def test_a_small_rank_costs_only_where_there_is_much_to_learn(
    space: dict[str, Parameter],
) -> None:
    def cost(tokens: float) -> float:
        small = expected_excess(LORA, {"r": 2, "learning_rate": 4.5e-4}, space, tokens)
        large = expected_excess(LORA, {"r": 64, "learning_rate": 4.5e-4}, space, tokens)
        return small - large

    assert cost(50_000_000) > 0.015
    assert cost(1_000) < 0.005


def test_a_strategy_costs_what_its_expected_quality_says() -> None:
    worse = Quality(mean=-2.0, sd=1.0)
    assert expected_excess(worse, {}, {}) == pytest.approx(0.1)
    assert expected_excess(LORA, {}, {}) == 0.0
