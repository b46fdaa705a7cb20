"""Whether a study has what was asked for before its last trial (to be replaced)."""

from __future__ import annotations

from typing import Literal

from sweeper.artifact import Record
from sweeper.search import ending
from sweeper.search.search import Search
from sweeper.search.untrained import noted
from sweeper.spec import SearchSpec


class Ending(Record):
    """Why a search ended before its last trial."""

    kind: Literal["target", "settled"]
    because: str
    total: int


def decide(search: Search, asked: SearchSpec) -> Ending | None:
    """Whether the trials end the search."""
    if asked.target_loss is None and not asked.stop_when_settled:
        return None
    trials = search.study.get_trials(deepcopy=False)
    found = ending.decide(search.problem, trials, asked, noted(search.study))
    return (
        None if found is None else Ending(kind=found.kind, because=found.because, total=found.total)
    )


def still_ends(kept: Ending, asked: SearchSpec) -> bool:
    """Whether an earlier ending holds for this call."""
    settled = kept.kind == "settled" and asked.stop_when_settled
    return settled and asked.trials <= kept.total
