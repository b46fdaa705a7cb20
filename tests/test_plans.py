from __future__ import annotations

import pytest

from sweeper.plans import Budget, Duration


@pytest.mark.parametrize(
    ("seeds", "told"), [(1, "not trained again, so that each has one seed"),
                        (3, "trained again until each has 3 seeds")]
)  # fmt: skip
def test_a_budget_says_how_often_finalists_are_trained(seeds: int, told: str) -> None:
    none = Duration(seconds=0.0, low=0.0, high=0.0)
    budget = Budget(
        trials=5, epochs=1, full_tokens=1, phases={}, sweep=none, finalists=3,
        confirmation_seeds=seeds,
    )  # fmt: skip
    assert budget.confirmed == told
