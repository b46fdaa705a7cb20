"""What more trials are expected to bring and cost, and whether a search ends before its last one.

It ends where its target loss is reached, or nothing is left to gain. Pure. Whoever owns the search
keeps the ending, and asks no further trial.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.spec import SearchSpec

if TYPE_CHECKING:
    from sweeper.search.search import Search

NEXT = 5
# By trials that have ended: how far the next five lower the best loss, as a share of it. Means over
# searches of twelve recorded tasks (benchmarks/findings.md). What a search itself shows (the last
# gain, the time since the best trial, the sampler's expected improvement) did not correlate with
# what came.
GAINS = {5: 0.0118, 10: 0.0039, 15: 0.0031, 20: 0.0023, 25: 0.0004}
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
    """
    best = min((loss for loss in losses if loss is not None), default=math.inf)
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
    """Why more trials are not worth their cost; empty while they are."""
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


class Ending(Record):
    """Why a search ended before its last trial."""

    kind: Literal["target", "settled", "budget"] = Field(
        description="target: the loss that was asked for is reached; settled: more "
        "trials are expected to gain less than noise shows; budget: it has no room for one more"
    )
    because: str
    total: int = Field(description="requested trials at that time")


def decide(search: Search, asked: SearchSpec) -> Ending | None:
    """Whether the trials so far end the search.

    Args:
        asked: The target loss, and whether a search that has settled ends.
    """
    because = _target(search, asked.target_loss)
    if because:
        return Ending(kind="target", because=because, total=asked.trials)
    because = _settled(search) if asked.stop_when_settled else ""
    return Ending(kind="settled", because=because, total=asked.trials) if because else None


def still_ends(ending: Ending, asked: SearchSpec) -> bool:
    """Whether an ending of an earlier call holds for this one.

    A search that has settled stays ended unless this call asks for more trials, or to go on
    regardless. A target is looked at anew: another loss may be asked for.
    """
    settled = ending.kind == "settled" and asked.stop_when_settled
    return settled and asked.trials <= ending.total


def _target(search: Search, target: float | None) -> str:
    if target is None:
        return ""
    for trial in search.seen():
        if trial.final is not None and trial.final <= target:
            reached = f"trial {trial.number} reached a validation loss of {trial.final:.4g}"
            return f"{reached}, and {target:g} was the target"
    return ""


def _settled(search: Search) -> str:
    # The search does not call off what was given beforehand: defaults and the user's own trials.
    running = (trial for trial in search.seen() if trial.running)
    if search.untried or any(trial.origin != "search" for trial in running):
        return ""
    return gains_too_little(search)


def gains_too_little(search: Search) -> str:
    """Why more trials of a search are not worth their cost; empty while they are."""
    if not search.objective.is_loss:
        return ""  # what searches gain was recorded for losses
    seen = [trial for trial in search.seen() if not trial.running]
    if not {trial.key for trial in seen}.issuperset(search.candidates):
        return ""
    return settled([trial.final for trial in seen])
