"""What more trials are expected to bring and cost. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record

NEXT = 5
# By trials that have ended: how far the next five lower the best loss, as a share of it. Means over
# searches of twelve recorded tasks (python -m benchmarks.search.next_trials). What a search itself
# shows (the last gain, the time since the best trial, the sampler's expected improvement) did not
# correlate with what came.
GAINS = {5: 0.0114, 10: 0.0056, 15: 0.0049, 20: 0.0014, 25: 0.0008}
# Standard deviation of a final loss between seeds, as a share of the loss: median of seven recorded
# tasks of benchmarks/search (0.011 to 0.143), by the pairs of seeds that each has. Two trials
# differ by the square root of two times it.
SEED_SHARE = 0.06
# An expected gain below this share of the noise is not worth its trials.
WORTH_SHARE = 0.1


class Outlook(Record):
    """The next trials: their time and their expected gain."""

    trials: int = Field(NEXT, description="of the time to come")
    seconds: float = Field(description="expected for this many more trials, with all workers")
    gain: float = Field(description="how far the best validation loss is expected to fall")
    noise: float = Field(description="assumed difference between two seeds")

    def __str__(self) -> str:
        return f"{self.trials} more trials: about {units.duration(self.seconds)}; {_gain(self)}"


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
    best = min((one for one in losses if one is not None), default=math.inf)
    ended = [share for trials, share in GAINS.items() if trials <= len(losses)]
    if not ended or math.isinf(best) or not seconds:
        return None
    each = statistics.fmean(seconds[-2 * NEXT :])
    return Outlook(
        seconds=NEXT * each / min(max(workers, 1), NEXT),
        gain=ended[-1] * abs(best),
        noise=math.sqrt(2) * SEED_SHARE * abs(best),
    )


def settled(losses: Sequence[float | None]) -> str:
    """Why more trials are not worth their cost; empty while they are.

    Args:
        losses: As for ``outlook``.
    """
    coming = outlook(losses, [0.0], 1)
    if coming is None or coming.gain >= WORTH_SHARE * coming.noise:
        return ""
    return f"{NEXT} more trials are {_gain(coming)}"


def _gain(coming: Outlook) -> str:
    share = coming.gain / coming.noise if coming.noise > 0 else 0.0
    return (
        f"expected to lower the best loss by {units.number(coming.gain, 2)} ({share:.1g} times the "
        "typical difference between two seeds)"
    )
