"""What more trials may bring and cost, from what the last ones brought and cost. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record

NEXT = 5
# Fewer trials cannot tell: the first five always lower the best loss.
FEWEST_TRIALS = 10
# Standard deviation of a final loss between seeds, as a share of the loss: median of seven recorded
# tasks of benchmarks/search (0.011 to 0.143), by the pairs of seeds that each has. Two trials
# differ by the square root of two times it.
SEED_SHARE = 0.06


class Outlook(Record):
    """The next trials: their time, and how far the last ones lowered the best loss.

    In replays of recorded tasks (``benchmarks.search.next_trials``), the sampler's expected
    improvement of one trial was far larger than what the next five trials brought.
    """

    trials: int = Field(NEXT, description="of the past, and of the time to come")
    seconds: float = Field(description="expected for this many more trials, with all workers")
    gain: float = Field(description="how far the best validation loss fell with the last ones")
    noise: float = Field(description="assumed difference between two seeds")

    def __str__(self) -> str:
        share = self.gain / self.noise if self.noise > 0 else 0.0
        gain = (
            f"lowered the best loss by {units.number(self.gain, 2)}, about {share:.1g} of the "
            "difference between two seeds"
            if self.gain > 0
            else "did not lower the best loss"
        )
        took = units.duration(self.seconds)
        return f"{self.trials} more trials: about {took}; the last {self.trials} {gain}"


def outlook(
    losses: Sequence[float | None], seconds: Sequence[float], workers: int
) -> Outlook | None:
    """What the next trials promise; None while too few trials have ended.

    Args:
        losses: Final losses by number of the trial; None of a trial that has none or that forgot
            too much.
        seconds: What trials of the search took, the last one last.
        workers: Workers side by side.
    """
    known = [math.inf if one is None else one for one in losses]
    best, before = min(known, default=math.inf), min(known[:-NEXT], default=math.inf)
    if len(known) < FEWEST_TRIALS or math.isinf(before) or not seconds:
        return None
    each = statistics.fmean(seconds[-2 * NEXT :])
    return Outlook(
        seconds=NEXT * each / min(max(workers, 1), NEXT),
        gain=before - best,
        noise=math.sqrt(2) * SEED_SHARE * abs(best),
    )
