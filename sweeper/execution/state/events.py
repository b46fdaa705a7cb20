"""Events of a run: the lines of ``events.jsonl``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from sweeper.artifact import Record
from sweeper.safe_text import without_secrets
from sweeper.spec import Scalar

EventKind = Literal[
    "run-started",
    "phase",
    "worker-started",
    "worker-ended",
    "trial-started",
    "rung",
    "trial-ended",
    "trial-put-back",
    "job-started",
    "job-ended",
    "job-put-back",
    "search-ended",
    "optional-phase",
    "proposed-trial",
    "baseline",
    "progress",
    "warning",
    "run-ended",
]


class Event(Record):
    """One event of a run.

    ``trial`` is the number of the trial that the event or its job concerns, if any. ``state`` is
    the end of a trial (``COMPLETE``, ``PRUNED``, ``FAIL``), or the phase or outcome of the run.
    ``text`` is a sentence for a reader; in ``progress``, it names the work, and ``done`` of ``of``
    is done.
    """

    kind: EventKind
    at: str
    worker: str = ""
    trial: int | None = None
    attempt: int | None = None
    job: str = ""
    strategy: str = ""
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    rung: int | None = None
    rungs: int | None = None
    optimizer_steps: int | None = None
    validation_loss: float | None = None
    objective: float | None = Field(None, description="where it is another than the loss")
    median_here: float | None = Field(
        None,
        description="over the candidate's other trials at the rung: of the objective if it is "
        "measured there, else of the loss; None without such trials",
    )
    seconds: float | None = None
    done: int | None = None
    of: int | None = None
    state: str = ""
    text: str = ""


def now() -> str:
    """The time in UTC as ISO 8601 with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_event(kind: EventKind, **fields: object) -> Event:
    """An event with the current time; secrets are removed from its text."""
    if isinstance(text := fields.get("text"), str):
        fields["text"] = without_secrets(text)
    return Event.model_validate({"kind": kind, "at": now(), **fields})
