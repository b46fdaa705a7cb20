"""What each worker does, how long it has been silent, and how many ended in vain in a row.

Silence is measured with the command's monotonic clock; time in which the command itself did not
look counts little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sweeper.execution.job import Job

# Workers that end without a single rung or result: the machine or the installation is broken, and
# starting more would go on for ever. Three in a row that never came to a job, or the attempts of
# three whole trials.
STRIKES_ALLOWED = 9
_IDLE, _WORKED = 3, 1
# Twelve missed beats.
SILENT_SECONDS = float(os.environ.get("SWEEPER_SILENT_SECONDS", "120"))
_LONGEST_GAP_SECONDS = 3.0


@dataclass
class WorkerState:
    """One worker, from its start until it is gone.

    Args:
        job: The attempt that it is busy with.
        carried: The last rung that this attempt took over from a checkpoint; 0 without one.
        anew: The checkpoint was of no use, and the attempt trains from clean weights.
        worked: It has had a job.
        productive: It has reported a rung or a result.
        silent_seconds: Since its last message.
        silenced: It was ended for its silence.
    """

    job: Job | None = None
    carried: int = 0
    anew: bool = False
    worked: bool = False
    productive: bool = False
    silent_seconds: float = 0.0
    silenced: bool = False


@dataclass
class WorkerStates:
    """The workers by name, in the order in which they were first heard of."""

    limit: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    strikes: int = 0
    _states: dict[str, WorkerState] = field(default_factory=dict)
    _looked: float | None = None

    def __getitem__(self, name: str) -> WorkerState:
        return self._states.setdefault(name, WorkerState())

    @property
    def busy(self) -> int:
        """How many have a job."""
        return sum(state.job is not None for state in self._states.values())

    def look(self, names: Collection[str]) -> list[str]:
        """Those of these workers that have been silent for too long.

        Args:
            names: Of the workers that live.
        """
        now = self.clock()
        looked, self._looked = self._looked, now
        passed = min(now - looked, _LONGEST_GAP_SECONDS) if looked is not None else 0.0
        for name in names:
            self[name].silent_seconds += passed
        return [name for name in names if self[name].silent_seconds > self.limit]

    def ended(self, name: str, *, excused: bool, starved: bool = False) -> None:
        """A worker is gone.

        Args:
            excused: It was ordered to end, had nothing left, or lost its machine.
            starved: The system killed it for its memory. Where it had a job that is progress: the
                next try takes less, and there is an end to that.
        """
        state = self._states.pop(name, WorkerState())
        if state.productive or excused:
            self.strikes = 0
        elif not (starved and state.worked):
            self.strikes += _WORKED if state.worked else _IDLE
