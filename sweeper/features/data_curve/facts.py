"""Sizes and seeds of a data curve, and a check of the objective."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.errors import Problem
from sweeper.features.data_curve.options import Options
from sweeper.metrics.objectives import objective_of
from sweeper.spec import Spec

# A part of fewer rows is a batch or two, too little for a curve.
_MIN_ROWS = 16


def part_sizes(rows: int) -> tuple[int, ...]:
    """The rows of an eighth, a quarter and half of a train split, without sizes that are too small.

    Empty if fewer than two are left: a curve needs two parts besides all rows.

    >>> part_sizes(4_000), part_sizes(100), part_sizes(50)
    ((500, 1000, 2000), (25, 50), ())
    """
    sizes = tuple(size for share in (8, 4, 2) if (size := rows // share) >= _MIN_ROWS)
    return sizes if len(sizes) > 1 else ()


def curve_seeds(confirmation_seeds: int) -> int:
    """Number of trainings at each size: at least three, to estimate the noise of seeds."""
    return max(3, confirmation_seeds)


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """A problem if a curve is requested without a loss or score of each item.

    The same whether the command will train or not (``for_run``).
    """
    if spec.features.of(Options).enabled and not objective_of(spec).at_rungs:
        yield Problem(
            "a data curve of this objective",
            "It needs a loss or a score of each item; trials are compared by "
            f"{spec.objective.name} here.",
            "Leave it out.",
            spec.places.where(("features", "data_curve", "enabled")),
        )
