"""What a worker holds while it works: the run, the plan, both queues, the backend, a voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.backend import Backend
from sweeper.execution.claims import Queue
from sweeper.execution.events import Event, EventKind, now
from sweeper.execution.stopping import StopFlag
from sweeper.plan import Plan
from sweeper.runfolder import RunFolder

# Where a worker finds the storage's URL: it may hold a password, which arguments would show.
STORAGE_VARIABLE = "SWEEPER_STORAGE"

# How a worker process ends, for whoever started it. Unsound: training raised or hung, and a fresh
# process must go on. The other two are the run's, not the trial's.
UNSOUND, NO_ROOM, STORAGE_GONE = 70, 74, 75


@dataclass
class Bench:
    """The surroundings of one worker.

    Args:
        owner: The worker's name in leases.
        worker: The worker's name for people (``0``, ``1``, ...).
        tell: Sends an event to whoever started the worker.
    """

    run: RunFolder
    plan: Plan
    trials: Queue
    jobs: Queue
    backend: Backend
    should_stop: StopFlag
    owner: str
    worker: str
    tell: Callable[[Event], None]

    def say(self, kind: EventKind, **fields: object) -> None:
        """Tell of something that happened just now."""
        values = {"kind": kind, "at": now(), "worker": self.worker, **fields}
        self.tell(Event.model_validate(values))


class WorkerUnsound(Exception):
    """Training broke in a way that may have left this process unsound: a fresh one must go on."""
