"""Each worker's job and silence, and how many workers in a row ended without progress.

Silence is measured with the command's clock. The time between two calls of ``too_silent`` counts
as at most ``_MAX_GAP_SECONDS``: after a longer gap, the command itself was busy or suspended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sweeper.execution.job import Job

# Strikes in a row after which the run ends, since the machine or the installation is broken. A
# worker that ends before it got a job is three strikes; one that had a job but reported nothing is
# one. Nine strikes are three workers without a job, or three trials with three attempts each.
STRIKES_ALLOWED = 9
_STRIKES_WITHOUT_JOB, _STRIKES_WITH_JOB = 3, 1
# Silence after which a worker counts as dead: twelve missed heartbeats.
SILENT_SECONDS = float(os.environ.get("SWEEPER_SILENT_SECONDS", "120"))
_MAX_GAP_SECONDS = 3.0


@dataclass
class WorkerState:
    """One worker, from its start until it is gone.

    Args:
        job: The attempt that it is doing.
        restored_rung: The last rung that this attempt took over from a checkpoint; 0 without one.
        from_scratch: Whether the checkpoint was unusable and the attempt trains from clean weights.
        had_job: Whether it has had a job.
        productive: Whether it has reported a rung or a result.
        silent_seconds: Seconds since its last message.
        silenced: Whether it was ended for its silence.
    """

    job: Job | None = None
    restored_rung: int = 0
    from_scratch: bool = False
    had_job: bool = False
    productive: bool = False
    silent_seconds: float = 0.0
    silenced: bool = False


@dataclass
class WorkerStates:
    """The states of the workers by name, in the order of their first messages.

    Args:
        silence_limit: Seconds of silence after which a worker counts as dead.
        strikes: Strikes of the workers that ended since the last one with progress.
    """

    silence_limit: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    strikes: int = 0
    _states: dict[str, WorkerState] = field(default_factory=dict)
    _last_update: float | None = None

    def __getitem__(self, name: str) -> WorkerState:
        return self._states.setdefault(name, WorkerState())

    @property
    def busy(self) -> int:
        """Number of workers that have a job."""
        return sum(state.job is not None for state in self._states.values())

    def too_silent(self, names: Collection[str]) -> list[str]:
        """Update the silence of workers, and return those that have been silent for too long.

        Args:
            names: Names of the living workers.
        """
        now = self.clock()
        last_update, self._last_update = self._last_update, now
        passed = min(now - last_update, _MAX_GAP_SECONDS) if last_update is not None else 0.0
        for name in names:
            self[name].silent_seconds += passed
        return [name for name in names if self[name].silent_seconds > self.silence_limit]

    def ended(self, name: str, *, excused: bool, out_of_memory: bool = False) -> None:
        """Remove a worker that has ended, and count its strikes.

        Args:
            excused: Whether it was ordered to end, had no work left, or lost its machine.
            out_of_memory: Whether memory ran out. With a job this is not a strike: the next attempt
                has smaller batches, down to one example.
        """
        state = self._states.pop(name, WorkerState())
        if state.productive or excused:
            self.strikes = 0
        elif not (out_of_memory and state.had_job):
            self.strikes += _STRIKES_WITH_JOB if state.had_job else _STRIKES_WITHOUT_JOB
