"""Time that this process wanted a processor and other processes had it (Linux; else 0)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

_TASKS = Path("/proc/self/task")


def _run_delays() -> dict[str, float]:
    """Seconds that each thread of this process has waited in the scheduler's queue so far."""
    found = {}
    for task in _TASKS.glob("*/schedstat"):
        try:
            found[task.parent.name] = int(task.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # the thread has ended, or no such statistics
            continue
    return found


@dataclass
class Contention:
    """Counts from when it is made."""

    _before: dict[str, float] = field(default_factory=_run_delays)

    @property
    def waited_seconds(self) -> float:
        """Of the thread that waited most, since the others of a step wait for it."""
        waited = (s - self._before.get(task, 0.0) for task, s in _run_delays().items())
        return max(waited, default=0.0)
