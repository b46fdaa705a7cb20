"""Gives every strategy its first trials, whatever its expected improvement.

Pure and deterministic: the same trials give the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper.search.loss_model.observations import Observation

# A candidate is not judged by fewer trials than these: its default is one draw, and seeds of one
# configuration may differ by more than strategies do. Candidates that have fewer get a part of the
# searched trials at least, which all of them together do not exceed.
JUDGED_FROM = 3
YOUNG_SHARE = 0.5
# A candidate that failed this often and never ended well is left out.
FAILURES_ALLOWED = 3


def alive(keys: Sequence[str], seen: Mapping[str, Sequence[Observation]]) -> list[str]:
    """The candidates with a trial that did not fail; all of them if there is none.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each.
    """
    return [key for key in keys if not _hopeless(seen.get(key, ()))] or [*keys]


def _hopeless(trials: Sequence[Observation]) -> bool:
    if any(one.complete for one in trials):
        return False
    return sum(1 for one in trials if one.failed) >= FAILURES_ALLOWED


def in_turn(
    keys: Sequence[str], seen: Mapping[str, Sequence[Observation]], scores: Mapping[str, float]
) -> str | None:
    """The candidate with too few trials; None where no candidate has a turn to come.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each.
        scores: The rules' weights, which decide between untried ones.
    """
    by_key = {key: seen.get(key, ()) for key in keys}
    untried = [key for key in keys if not by_key[key]]
    return max(untried, key=lambda key: scores[key]) if untried else _young(keys, by_key)


def _young(keys: Sequence[str], by_key: Mapping[str, Sequence[Observation]]) -> str | None:
    """The candidate with the fewest searched trials among those below the minimum.

    None where others have not had so many in between that it is due.
    """
    searched = {key: sum(one.origin == "search" for one in by_key[key]) for key in keys}
    due = YOUNG_SHARE / len(keys) * sum(searched.values()) - 0.5
    behind = [
        key
        for key in keys
        if searched[key] < due
        and sum(one.loss is not None or one.failed or one.running for one in by_key[key])
        < JUDGED_FROM
    ]
    return min(behind, key=lambda key: searched[key], default=None)
