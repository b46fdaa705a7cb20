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

    def ended(self, name: str, *, asked: bool) -> None:
        """A worker is gone; ``asked`` if it was told to or had nothing left."""
        if name in self._fruitful or asked:
            self.count = 0
        else:
            self.count += _CLAIMED if name in self._claimed else _UNCLAIMED
        self._fruitful.discard(name)
        self._claimed.discard(name)

    def out(self) -> bool:
        """Whether starting more is no use."""
        return self.count >= STRIKES_ALLOWED
