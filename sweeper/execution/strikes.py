"""Workers that do nothing: how long each has been silent, and how many in a row ended in vain.

Silence is measured with the command's monotonic clock; time in which the command itself did not
look counts little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

# Workers that end without a single rung or result: the machine or the installation is broken, and
# starting more would go on for ever. Three in a row that never came to a job, or the attempts of
# three whole trials.
STRIKES_ALLOWED = 9
_IDLE, _WORKED = 3, 1
# Twelve missed beats.
SILENT_SECONDS = float(os.environ.get("SWEEPER_SILENT_SECONDS", "120"))
_LONGEST_GAP_SECONDS = 3.0


@dataclass
class Strikes:
    """The progress of each worker, and the number that ended in vain in a row."""

    count: int = 0
    _fruitful: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)

    def got_job(self, worker: str) -> None:
        self._busy.add(worker)

    def got_on(self, worker: str) -> None:
        self._fruitful.add(worker)

    def ended(self, worker: str, *, excused: bool, starved: bool = False) -> None:
        """A worker is gone.

        Args:
            excused: It was told to end, had nothing left, or lost its machine.
            starved: The system killed it for its memory. Where it had a job that is progress: the
                next try takes less, and there is an end to that.
        """
        if worker in self._fruitful or excused:
            self.count = 0
        elif not (starved and worker in self._busy):
            self.count += _WORKED if worker in self._busy else _IDLE
        self._fruitful.discard(worker)
        self._busy.discard(worker)

    def out(self) -> bool:
        """Whether too many workers ended in vain."""
        return self.count >= STRIKES_ALLOWED


@dataclass
class Silence:
    """The silence of each worker."""

    limit: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _silent: dict[str, float] = field(default_factory=dict)
    _looked: float | None = None

    def heard(self, worker: str) -> None:
        self._silent[worker] = 0.0

    def look(self, workers: Collection[str]) -> list[str]:
        """Those of these workers that have been silent for too long."""
        now = self.clock()
        looked, self._looked = self._looked, now
        passed = min(now - looked, _LONGEST_GAP_SECONDS) if looked is not None else 0.0
        self._silent = {name: self._silent.get(name, 0.0) + passed for name in workers}
        return [name for name, seconds in self._silent.items() if seconds > self.limit]
