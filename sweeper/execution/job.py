"""The protocol between the command, which sends orders, and a worker, which sends messages.

Each is one line on a pipe: the name of its type and its JSON. A worker does one job at a time: a
``Job`` starts it, a ``RungAnswer`` answers each ``RungReport``, and ``JobEnded`` ends it.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from sweeper.artifact import Record
from sweeper.backend import Decision
from sweeper.errors import Problem
from sweeper.facts.machine.hardware import Device
from sweeper.spec import Spec
from sweeper.trials import AttemptEndKind, BaselineResult, RungReport, TrialConfig

JobKind = Literal["trial", "confirm", "baselines", "test"]


class WorkItem(Record):
    """A piece of work that a run completes once, in one or more attempts.

    A ``trial`` item trains a trial, ``baselines`` scores all baselines on validation, ``confirm``
    trains ``trial`` again with ``seed``, ``test`` scores one model on the test split.
    """

    kind: JobKind
    name: str = Field(description="unique in the run; also the name of a test item's score")
    trial: int | None = Field(None, description="number of the trial concerned, if any")
    seed: int | None = Field(None, description="of a confirmation run; None for the trial's own")
    rows: int | None = Field(None, description="training rows, if not those of the trial")
    keep_weights: bool = Field(False, description="whether a training on ``rows`` keeps its own")

    @property
    def home(self) -> str:
        """The folder that holds ``attempts/``, relative to the run's folder."""
        if self.kind == "trial":
            return f"trials/{self.trial}"
        if self.kind == "confirm" and self.rows is not None:
            # Only a training on all rows keeps its weights.
            rows = "all-rows" if self.keep_weights else "rows"
            return f"trials/{self.trial}/{rows}/{self.rows}/{self.seed}"
        if self.kind == "confirm":
            return f"trials/{self.trial}/seeds/{self.seed}"
        return f"jobs/{self.name}"

    @property
    def title(self) -> str:
        """The item in words: ``trial 7``, ``trial 7 with seed 2``, ``the score of x``."""
        if self.kind == "trial":
            return f"trial {self.trial}"
        if self.kind == "confirm":
            on = f" on {self.rows:,} rows" if self.rows is not None else ""
            return f"trial {self.trial} with seed {self.seed}{on}"
        return self.name if self.kind == "baselines" else f"the score of {self.name}"


class Job(WorkItem):
    """One attempt at a work item. Folders are relative to the run's folder."""

    attempt: int = 1
    config: TrialConfig | None = Field(None, description="configuration to train or to score")
    weights: str | None = Field(None, description="test: the folder whose weights/ is scored")
    checkpoint: str | None = Field(None, description="of an interrupted attempt, to continue from")
    rungs: tuple[RungReport, ...] = Field((), description="of that attempt, up to the checkpoint")

    @property
    def folder(self) -> str:
        return f"{self.home}/attempts/{self.attempt}"


class Briefing(Record):
    """The part of a ``WorkerRequest`` that is the same for all workers of a command.

    Args:
        spec: The user's request, without passwords.
        backend: ``module:function`` of the training backend.
    """

    spec: Spec
    backend: str


class WorkerRequest(Briefing):
    """The arguments of a new worker process.

    Args:
        run: The run's folder, as the worker's machine sees it.
        worker: Name of the worker.
    """

    run: str
    worker: str


class RungAnswer(Record):
    """Order: the answer to a ``RungReport``; ``because`` is the reason to prune."""

    decision: Decision
    because: str = ""


class Stop(Record):
    """Order: end the running job at its next step, without a result; then end the process."""


class Close(Record):
    """Order: end the process; no job is running."""


class Hello(Record):
    """The first message of a worker, before it loads anything.

    ``problems`` lists files of the run that the worker cannot see; if any, the command fails.
    """

    host: str
    process: int
    problems: tuple[Problem, ...] = ()


class Ready(Record):
    """The backend is loaded: the worker waits for a job.

    ``device`` is the training device; None unless the backend is ``backend.TRAINING``.
    """

    device: Device | None = None


class Heartbeat(Record):
    """A heartbeat: the process is alive."""


class ProgressMessage(Record):
    """Progress of work without rungs; ``of`` is 0 if the total is unknown."""

    what: str
    done: int
    of: int


class JobEnded(Record):
    """The job ended.

    ``end`` says why it has no complete results; None if it has. After ``error`` or ``disk-full``
    the process ends as well, since training may have left it unsound.
    """

    end: AttemptEndKind | None = None
    detail: str = ""


Order = Job | RungAnswer | Stop | Close
Message = (
    Order | Hello | Ready | Heartbeat | RungReport | BaselineResult | ProgressMessage | JobEnded
)
"""The content of any line of the protocol."""
_TYPES: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def line_of(message: Message) -> bytes:
    """An order or message as one line, with its line end."""
    return f"{type(message).__name__} {message.model_dump_json()}\n".encode()


def read_message(line: bytes) -> Message:
    """The order or message on a line.

    Raises:
        ValueError: The line is neither a valid order nor a valid message.
    """
    name, _, fields = line.partition(b" ")
    if (kind := _TYPES.get(name.decode(errors="replace"))) is None:
        raise ValueError(f"no message has the name {name!r}")
    return kind.model_validate_json(fields)
