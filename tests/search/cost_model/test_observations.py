from __future__ import annotations

from sweeper.search.cost_model.observations import Observation


def test_a_perfect_trial_ranks_first() -> None:
    costs = (0.2, 0.0, None)
    seen = [
        Observation(
            number,
            "lora",
            {},
            cost,
            complete=cost is not None,
            running=False,
            failed=False,
            origin="search",
        )
        for number, cost in enumerate(costs)
    ]
    assert [one.number for one in sorted(seen, key=lambda one: one.rank)] == [1, 0, 2]
