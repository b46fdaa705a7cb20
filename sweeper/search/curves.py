"""What the curves at hand tell about an early loss: its noise, and how far it foretells the end.

Pure; all losses are "best so far", lower is better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.search.observations import Observation

# A straight line through fewer ends says nothing about how ends scatter around it.
FEWEST_ENDS = 5
# Third differences of independent noise have twenty times its variance (1 + 9 + 9 + 1); a median
# absolute deviation is 0.6745 of a normal standard deviation.
_THIRD_DIFFERENCE, _MAD = math.sqrt(20), 0.6745


def jitter(seen: Iterable[Observation], rungs: int) -> float:
    """Standard deviation of one rung's loss around its smooth curve.

    From the third differences of the curves, in which trend and bend cancel; 0 where no curve has
    four rungs. The last rung is left out: it is scored on more items than the others.
    """
    rests = []
    for one in seen:
        curve = [one.reported[rung] for rung in sorted(one.reported) if rung < rungs]
        for a, b, c, d in zip(curve, curve[1:], curve[2:], curve[3:], strict=False):
            if all(map(math.isfinite, (a, b, c, d))):
                rests.append(abs(a - 3 * b + 3 * c - d))
    return statistics.median(rests) / _MAD / _THIRD_DIFFERENCE if rests else 0.0


@dataclass(frozen=True)
class Foretelling:
    """A straight line from the loss at a rung to the final loss.

    Args:
        slope: How much of a difference at the rung is left at the end.
        scatter: Standard deviation of the ends around the line.
    """

    slope: float
    scatter: float


def foretelling(pairs: Sequence[tuple[float, float]]) -> Foretelling | None:
    """Fit (loss at the rung, final loss) of completed trials; None with too few of them."""
    if len(pairs) < FEWEST_ENDS or len({early for early, _ in pairs}) < 2:
        return None
    early, final = zip(*pairs, strict=True)
    slope, intercept = statistics.linear_regression(early, final)
    squares = sum((end - slope * start - intercept) ** 2 for start, end in pairs)
    return Foretelling(max(slope, 0.0), math.sqrt(squares / (len(pairs) - 2)))


def ends(peers: Iterable[Observation], rung: int) -> list[tuple[float, float]]:
    """Loss at a rung and final loss of each completed trial that has both."""
    return [
        (one.curve[rung], one.loss)
        for one in peers
        if one.complete and one.loss is not None and rung in one.curve
    ]
