"""Counts consecutive workers that end before they do anything."""

from __future__ import annotations

from dataclasses import dataclass, field

# Workers that end without a single rung or result: the machine or the installation is broken, and
# starting more would go on for ever. Three in a row that never came to a job, or the attempts of
# three whole trials.
STRIKES_ALLOWED = 9
_IDLE, _WORKED = 3, 1


@dataclass
class Strikes:
    """The progress of each worker, and the number that ended in vain in a row."""

    count: int = 0
    _fruitful: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)

    def got_job(self, worker: str) -> None:
        """A worker was given something to do."""
        self._busy.add(worker)

    def got_on(self, worker: str) -> None:
        """A worker has a rung, a baseline or a result."""
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
