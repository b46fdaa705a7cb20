from __future__ import annotations

from spaces import costs


def test_a_perfect_trial_ranks_first() -> None:
    found = (0.2, 0.0, None)
    seen = [
        costs(cost, number=number, state="PRUNED" if cost is None else "COMPLETE")
        for number, cost in enumerate(found)
    ]
    assert [one.number for one in sorted(seen, key=lambda one: one.rank)] == [1, 0, 2]
