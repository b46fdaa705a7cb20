"""The range that is searched now: best practice, and beyond it where the best trials press.

Pure; knows axes and observations.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.search.axis import Axis, Range
from sweeper.search.observations import Observation

# "Within 10% of a bound" is what the report calls an optimum that may lie outside.
EDGE_SHARE = 0.25
# Fewer trials cannot show that the best one lies at the edge by more than chance.
FEWEST_TRIALS = 3


def searched_range(axis: Axis, seen: Sequence[Observation]) -> Range:
    """The range to draw from, within the allowed one.

    An edge moves by one width of the best-practice range beyond the best trial when that trial
    lies at the edge or past it, again and again; never past the middle between the best trial and
    one that failed on that side.

    Args:
        axis: The parameter.
        seen: Trials of one candidate.
    """
    low, high = axis.practice
    having = [one for one in seen if axis.name in one.parameters]
    ended = [one for one in having if one.loss is not None]
    if len(ended) < FEWEST_TRIALS:
        return low, high
    best = axis.unit(min(ended, key=lambda one: one.rank).parameters[axis.name])
    failed = [axis.unit(one.parameters[axis.name]) for one in having if one.failed]
    margin = EDGE_SHARE * axis.width
    if best >= high - margin:
        wall = min(((best + bad) / 2 for bad in failed if bad > best), default=1.0)
        high = max(high, min(best + axis.width, wall))
    if best <= low + margin:
        wall = max(((best + bad) / 2 for bad in failed if bad < best), default=0.0)
        low = min(low, max(best - axis.width, wall))
    return max(0.0, low), min(1.0, high)
