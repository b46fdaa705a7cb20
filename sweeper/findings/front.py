"""What no other trial beats in two figures at once."""

from __future__ import annotations

from collections.abc import Iterable


def front_of(points: Iterable[tuple[float, float, int]]) -> list[int]:
    """Trials that no other one beats in both of two costs, by the first of them.

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
