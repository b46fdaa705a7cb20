"""The progress of a run: the type of ``status.json``.

Losses are validation losses; lower is better.
"""

from __future__ import annotations

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.execution.state.events import Event
from sweeper.objective import LOSS, Objective
from sweeper.search.study_end import Ending, Outlook
from sweeper.spec import Scalar

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
    """Whether a feature's optional phase was run, and why."""

    made: bool
    text: str


class Status(Artifact):
    """A run at one moment.

    ``trials`` is the total; ``complete`` + ``pruned`` + ``failed`` of them have ended.
    ``out_of_memory`` counts failed trials that ran out of memory. ``eta`` is None until two trials
    have ended. ``search_ended`` says why the search ended before the total, if it did; no trial
    waits then. ``jobs`` are baselines, confirmation runs and test scores.
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
        description="time of more trials, gain of the last ones; None before ten ended",
    )
    started_at: str
    updated_at: str
    ended_at: str = ""
    seconds: float = Field(0.0, description="of this and all earlier commands")
    phases: dict[str, float] = Field(
        default_factory=dict,
        description="seconds of each phase, and of download and conversion",
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
