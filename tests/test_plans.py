from __future__ import annotations

import pytest

from sweeper.plans import Budget, Duration


@pytest.mark.parametrize(
    ("seeds", "extra", "told"), [
        (1, 0, "not trained again, so that each has one seed"),
        (3, 0, "trained again until each has 3 seeds"),
        (3, 2, "trained again until each has 3 seeds, 5 if seeds are most of the noise between "
               "them"),
    ],
)  # fmt: skip
def test_a_budget_says_how_often_finalists_are_trained(seeds: int, extra: int, told: str) -> None:
    none = Duration(seconds=0.0, low=0.0, high=0.0)
    budget = Budget(
        trials=5, epochs=1, full_tokens=1, phases={}, sweep=none, finalists=3,
        confirmation_seeds=seeds, extra_seeds=extra,
    )  # fmt: skip
    assert budget.confirmed == told
