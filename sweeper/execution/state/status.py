"""The types of a run's status.json and of the lines of its events.jsonl."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record, now
from sweeper.objective import LOSS, Objective
from sweeper.safe_text import without_secrets
from sweeper.search.study_end import Ending, Outlook
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
    ``text`` is a sentence for a reader. In a ``progress`` event, it names the work, and ``done``
    and ``of`` count its finished parts and all its parts. ``proposed-trial`` announces a
    configuration that a feature proposes to try early.
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
    objective: float | None = Field(None, description="if it is not the loss")
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


def make_event(kind: EventKind, **fields: object) -> Event:
    """An event with the current time; secrets are removed from its text."""
    if isinstance(text := fields.get("text"), str):
        fields["text"] = without_secrets(text)
    return Event.model_validate({"kind": kind, "at": now(), **fields})


Phase = str
"""``baselines``, ``search``, ``confirmation``, ``test``, a feature's name, or one of ``ENDED``."""
ENDED: tuple[Phase, ...] = ("complete", "interrupted", "timeout", "failed")


class Best(Record):
    """The best completed trial; ``over_limits`` are the titles of limits that it exceeds."""

    trial: int
    strategy: str
    parameters: dict[str, Scalar]
    value: float = Field(description="of the objective")
    over_limits: tuple[str, ...] = ()


class Eta(Record):
    """Seconds until the run ends, by the plan and the times of ended trials."""

    low: float
    high: float


class OptionalPhase(Record):
    """Whether a feature's optional phase is run (``made``), and why."""

    made: bool
    text: str


class Status(Artifact):
    """A run at one moment.

    ``trials`` is the total; ``complete`` + ``pruned`` + ``failed`` of them have ended.
    ``out_of_memory`` counts failed trials that ran out of memory. ``eta`` is None until two trials
    have ended. If the search ended before the total, ``ending`` says why, ``search_ended`` says so
    in a sentence, and no trial waits. ``jobs`` are baselines, confirmation runs and test scores.
    """

    phase: Phase
    objective: Objective = LOSS
    trials: int
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    out_of_memory: int = 0
    waiting: int = 0
    running: tuple[Event, ...] = Field(
        (), description="the start of each trial or job under way, with its last figures"
    )
    best: Best | None = None
    default: Best | None = Field(None, description="best of the rule book's defaults")
    jobs: int = 0
    jobs_done: int = 0
    eta: Eta | None = None
    outlook: Outlook | None = Field(
        None,
        description="time and gain of more trials; None before five ended",
    )
    started_at: str
    updated_at: str
    ended_at: str = ""
    seconds: float = Field(0.0, description="of this and all earlier commands")
    phases: dict[str, float] = Field(
        default_factory=dict,
        description="seconds of each phase, and of the download and conversion of models",
    )
    process: int | None = Field(None, description="pid of the command; None when it ended")
    host: str = Field("", description="where the command runs")
    beat: int = Field(0, description="grows while the command lives")
    message: str = ""
    failed_because: str = Field("", description="the error that ended the command")
    search_ended: str = ""
    optional_phases: dict[str, OptionalPhase] = Field(
        default_factory=dict, description="by the feature's name"
    )
    ending: Ending | None = Field(None, description="what ended the search before its last trial")

    @property
    def done(self) -> int:
        """Trials of the total that have ended."""
        return self.complete + self.pruned + self.failed
