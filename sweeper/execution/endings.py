"""Attempts that ended without a result, and why: ``attempts/<k>/ended.json``, one for each.

Knows the file; who ended an attempt, and what that costs, others decide.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import UsageError
from sweeper.execution.events import now
from sweeper.trials import AttemptEnd, AttemptEndKind

ENDED = "ended.json"


@dataclass(frozen=True)
class Gone:
    """How a worker ended, as the command saw it. ``starved``: the system killed it for memory."""

    why: str
    starved: bool = False


def kind_of(crashed: bool, starved: bool) -> AttemptEndKind:
    """What ended an attempt whose worker is gone."""
    if starved:
        return "out-of-memory"
    return "crash" if crashed else "interrupted"


def note_end(
    attempt: Path, kind: AttemptEndKind, detail: str, *, worker: str = "", instead: bool = False
) -> AttemptEnd:
    """Leave in an attempt's folder why it ended; what somebody noted before stays.

    Args:
        attempt: Folder of the attempt; made if the worker died before it did.
        kind: What ended it.
        detail: In words.
        worker: Who had it.
        instead: Whether this says more than a note that is there.
    """
    known = read_end(attempt)
    if known is not None and not instead:
        return known
    end = AttemptEnd(kind=kind, detail=detail, worker=worker, ended_at=now())
    end.write(attempt / ENDED)
    return end


def read_end(attempt: Path) -> AttemptEnd | None:
    """What ``note_end`` left, if anything that can be read."""
    if not (attempt / ENDED).is_file():
        return None
    with contextlib.suppress(UsageError):
        return AttemptEnd.read(attempt / ENDED)
    return None
