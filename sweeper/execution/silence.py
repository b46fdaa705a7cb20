"""Measures how long each worker has been silent, with the command's monotonic clock.

Time in which the command itself did not look counts little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

# Twelve missed beats.
SILENT_SECONDS = float(os.environ.get("SWEEPER_SILENT_SECONDS", "120"))
_LONGEST_GAP_SECONDS = 3.0


@dataclass
class Silence:
    """The silence of each worker."""

    limit: float = SILENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _silent: dict[str, float] = field(default_factory=dict)
    _looked: float | None = None

    def heard(self, worker: str) -> None:
        """A worker sent something, or began."""
        self._silent[worker] = 0.0

    def look(self, workers: Collection[str]) -> list[str]:
        """Those of these workers that have been silent for too long."""
        now = self.clock()
        looked, self._looked = self._looked, now
        passed = min(now - looked, _LONGEST_GAP_SECONDS) if looked is not None else 0.0
        self._silent = {name: self._silent.get(name, 0.0) + passed for name in workers}
        return [name for name, seconds in self._silent.items() if seconds > self.limit]
