"""The expected gain and time of more trials, and whether a search ends before its last trial.

A search ends when its target loss is reached, or little gain is expected. Pure: the caller stores
the ending, and asks for no further trial.
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

# Number of further trials whose gain and time are predicted.
NEXT = 5
# Share by which the next five trials lower the best loss, by the number of ended trials. Means over
# searches of twelve recorded tasks (benchmarks/findings.md). A search's own figures (the last gain,
# the time since the best trial, the sampler's expected improvement) did not correlate with it.
GAINS = {5: 0.0118, 10: 0.0039, 15: 0.0031, 20: 0.0023, 25: 0.0004}
# Standard deviation of a final loss between seeds, as a share of the loss: median of seven recorded
# tasks of benchmarks/search (0.011 to 0.143), by pairs of seeds. The difference of two trials has
# this deviation times the square root of two.
SEED_SHARE = 0.06
# An expected gain below this share of the noise is not worth its trials.
WORTH_SHARE = 0.1


class Outlook(Record):
    """The expected time and gain of the next trials."""

    trials: int = Field(NEXT, description="further trials that the figures are for")
    seconds: float = Field(description="expected for this many more trials, with all workers")
    gain: float = Field(description="how far the best validation loss is expected to fall")
    noise: float = Field(description="assumed difference between two seeds")

    def __str__(self) -> str:
        return f"{self.trials} more trials: about {units.duration(self.seconds)}; {_gain(self)}"


def outlook(
    losses: Sequence[float | None], seconds: Sequence[float], workers: int
) -> Outlook | None:
    """The outlook of the next trials; None while too few trials have ended.

    Args:
        losses: Final losses in trial order; None if a trial has none or exceeds a limit.
        seconds: Seconds of the trials, in order.
        workers: Number of workers.
    """
    best = min((loss for loss in losses if loss is not None), default=math.inf)
    gains = [share for trials, share in GAINS.items() if trials <= len(losses)]
    if not gains or math.isinf(best) or not seconds:
        return None
    trial_seconds = statistics.fmean(seconds[-2 * NEXT :])
    return Outlook(
        seconds=NEXT * trial_seconds / min(max(workers, 1), NEXT),
        gain=gains[-1] * abs(best),
        noise=math.sqrt(2) * SEED_SHARE * abs(best),
    )


def settled(losses: Sequence[float | None]) -> str:
    """The reason why more trials are not worth their cost; empty while they are."""
    next_trials = outlook(losses, seconds=[0.0], workers=1)  # the time does not matter here
    if next_trials is None or next_trials.gain >= WORTH_SHARE * next_trials.noise:
        return ""
    return f"{NEXT} more trials are {_gain(next_trials)}"


def _gain(next_trials: Outlook) -> str:
    share = next_trials.gain / next_trials.noise if next_trials.noise > 0 else 0.0
    return (
        f"expected to lower the best loss by {units.number(next_trials.gain, 2)} "
        f"({share:.1g} times the typical difference between two seeds)"
    )


class Ending(Record):
    """Why a search ended before its last trial."""

    kind: Literal["target", "settled", "budget"] = Field(
        description="target: the loss that was requested is reached; settled: more "
        "trials are expected to gain too little; budget: it has no room for one more"
    )
    because: str
    total: int = Field(description="requested trials at that time")


def decide(search: Search, request: SearchSpec) -> Ending | None:
    """The ending of the search, if its trials so far end it.

    Args:
        request: The options of the search, with target loss and whether a settled search ends.
    """
    because = _target_reason(search, request.target_loss)
    if because:
        return Ending(kind="target", because=because, total=request.trials)
    because = _settled_reason(search) if request.stop_when_settled else ""
    return Ending(kind="settled", because=because, total=request.trials) if because else None


def still_ends(ending: Ending, request: SearchSpec) -> bool:
    """Whether the ending of an earlier command still holds.

    A settled search stays ended unless this command asks for more trials, or not to stop when
    settled. Targets and budgets are checked again, since they may have changed.
    """
    settled = ending.kind == "settled" and request.stop_when_settled
    return settled and request.trials <= ending.total


def _target_reason(search: Search, target: float | None) -> str:
    if target is None:
        return ""
    for trial in search.seen():
        if trial.final is not None and trial.final <= target:
            text = f"trial {trial.number} reached a validation loss of {trial.final:.4g}"
            return f"{text}, and {target:g} was the target"
    return ""


def _settled_reason(search: Search) -> str:
    # Defaults and the user's own trials are always run.
    running = (trial for trial in search.seen() if trial.running)
    if search.untried or any(not trial.searched for trial in running):
        return ""
    return gains_too_little(search)


def gains_too_little(search: Search) -> str:
    """The reason why more trials of a search are not worth their cost; empty while they are."""
    if not search.objective.is_loss:
        return ""  # gains were recorded for losses only
    seen = [trial for trial in search.seen() if not trial.running]
    if not {trial.key for trial in seen}.issuperset(search.candidates):
        return ""
    return settled([trial.final for trial in seen])
