"""The Pareto front of trials by two figures at once."""

from __future__ import annotations

from collections.abc import Iterable


def front_of(points: Iterable[tuple[float, float, int]]) -> list[int]:
    """The trials that no other trial beats in both costs, sorted by the first cost.

    >>> front_of([(1.0, 5.0, 0), (2.0, 3.0, 1), (3.0, 4.0, 2)])
    [0, 1]
    """
    front: list[int] = []
    lowest = float("inf")
    for _, cost, number in sorted(points):
        if cost < lowest:
            lowest = cost
            front.append(number)
    return front
