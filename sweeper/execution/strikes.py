"""Counts workers that end one after the other without getting anything done."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.execution.events import Event

# Workers that end without a single rung or result: the machine or the installation is broken, and
# starting more would go on for ever. Three in a row that never came to claim anything, or the
# attempts of three whole trials.
STRIKES_ALLOWED = 9
_UNCLAIMED, _CLAIMED = 3, 1

_PROGRESS = ("rung", "trial-ended", "job-ended", "baseline")
_CLAIMS = ("trial-started", "job-started")


@dataclass
class Strikes:
    """What each worker that runs has come to, and how many ended in vain since one did not."""

    count: int = 0
    _fruitful: set[str] = field(default_factory=set)
    _claimed: set[str] = field(default_factory=set)

    def hear(self, name: str, event: Event) -> None:
        """Take in what a worker said."""
        if event.kind in _PROGRESS:
            self._fruitful.add(name)
        if event.kind in _CLAIMS:
            self._claimed.add(name)

    def ended(self, name: str, *, asked: bool, starved: bool = False) -> None:
        """A worker is gone.

        Args:
            name: Of the worker.
            asked: It was told to end, or had nothing left.
            starved: The system killed it for its memory. Where it had claimed something that is
                progress: the next try takes less, and there is an end to that.
        """
        if name in self._fruitful or asked:
            self.count = 0
        elif not (starved and name in self._claimed):
            self.count += _CLAIMED if name in self._claimed else _UNCLAIMED
        self._fruitful.discard(name)
        self._claimed.discard(name)

    def out(self) -> bool:
        """Whether starting more is no use."""
        return self.count >= STRIKES_ALLOWED
