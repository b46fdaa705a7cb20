"""Ends a search before its last trial: its target loss is reached, or nothing is left to gain.

Pure. Whoever owns the search keeps the ending, and asks no further trial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sweeper.artifact import Record
from sweeper.spec import SearchSpec

if TYPE_CHECKING:
    from sweeper.search.search import Search


class Ending(Record):
    """Why a search ended before its last trial."""

    kind: Literal["target", "settled"] = Field(
        description="target: the loss that was asked for is reached; settled: more "
        "trials are expected to gain less than noise shows"
    )
    because: str
    total: int = Field(description="requested trials at that time")


def decide(search: Search, asked: SearchSpec) -> Ending | None:
    """Whether the trials so far end the search.

    Args:
        search: With all trials of the study.
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
    for one in search.seen():
        if one.complete and one.keeps and one.loss is not None and one.loss <= target:
            reached = f"trial {one.number} reached a validation loss of {one.loss:.4g}"
            return f"{reached}, and {target:g} was the target"
    return ""


def _settled(search: Search) -> str:
    # The search does not call off what was given beforehand: defaults and the user's own trials.
    running = (one for one in search.seen() if one.running)
    if search.untried or any(one.origin != "search" for one in running):
        return ""
    return search.settled()
