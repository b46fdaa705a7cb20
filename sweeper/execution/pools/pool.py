"""The interface of a pool: it starts workers, passes messages on and reports deaths.

All workers of a pool have the same resources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweeper.child_process import outcome
from sweeper.execution.job import Message, Order
from sweeper.runfolder import RunFolder

# Lines of a worker's log that an error quotes.
_LOG_LINES = 5


@dataclass(frozen=True)
class WorkerMessage:
    """A message that a worker sent."""

    worker: str
    message: Message


@dataclass(frozen=True)
class WorkerGone:
    """The end of a worker; its name is free again.

    Args:
        status: Exit status of its process, negative for a signal; None if unknown.
        out_of_memory: Whether it ended because main memory or a GPU's memory ran out.
        lost: Whether its machine or its place in the cluster is gone, through no fault of its job.
    """

    worker: str
    status: int | None
    out_of_memory: bool = False
    lost: bool = False

    def __str__(self) -> str:
        if self.out_of_memory and self.status == 1:  # a Python exception, no signal of the system
            return f"worker {self.worker} ended because the memory of its GPU ran out"
        if self.out_of_memory:
            return f"the system killed worker {self.worker} because memory ran out"
        if self.lost or self.status is None:
            return f"the machine of worker {self.worker} is gone"
        return f"worker {self.worker} {outcome(self.status)}"


def log_of(run: RunFolder, worker: str) -> Path:
    """The log file of a worker's libraries."""
    return run.path / f"worker-{worker}.log"


def last_log_lines(run: RunFolder, worker: str) -> str:
    """The last non-empty lines of a worker's log."""
    log = log_of(run, worker)
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LOG_LINES:])


class Pool(Protocol):
    """The workers of one command."""

    @property
    def workers(self) -> Collection[str]:
        """Names of the workers that were started and have not ended, as far as known."""
        ...

    def start(self, count: int) -> None:
        """Start workers until there are ``count``, or as many as fit. Returns at once.

        A worker that still waits for a machine is cancelled if there would be more than ``count``.

        Raises:
            RunError: Workers can never be started.
        """
        ...

    def send(self, worker: str, order: Order) -> None:
        """Send an order. If the worker is gone, the order is lost and ``poll`` reports the
        death."""
        ...

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        """Wait at most ``seconds``, and return as soon as there are messages or deaths.

        A worker's death comes after its last message.
        """
        ...

    def kill(self, worker: str | None = None) -> None:
        """End a worker, or all, at once, with their child processes."""
        ...

    def notices(self) -> list[str]:
        """Notices for the user since the last call, as sentences."""
        ...

    def close(self) -> None:
        """End all workers, and release the pool's resources."""
        ...
