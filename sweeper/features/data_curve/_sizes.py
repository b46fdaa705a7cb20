"""How many rows the trainings of a data curve have, and how many seeds."""

from __future__ import annotations

# A part of fewer rows is a batch or two, whose training says nothing about all of them.
_FEWEST = 16


def part_sizes(rows: int) -> tuple[int, ...]:
    """The rows of an eighth, a quarter and half of a train split, as far as they are enough.

    Empty where they are not: a curve needs two of them beside all rows.

    >>> part_sizes(4_000), part_sizes(100), part_sizes(50)
    ((500, 1000, 2000), (25, 50), ())
    """
    sizes = tuple(size for share in (8, 4, 2) if (size := rows // share) >= _FEWEST)
    return sizes if len(sizes) > 1 else ()


def curve_seeds(confirmation_seeds: int) -> int:
    """Trainings at each size: those of a finalist, but enough to see how seeds differ."""
    return max(3, confirmation_seeds)
