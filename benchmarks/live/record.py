"""What a contender says while it runs, and what is kept of it: one file for each."""

import time
from pathlib import Path
from typing import Any

from benchmarks import json_lines
from sweeper.artifact import Artifact, Record


class Seen(Record):
    """A model's loss on the whole validation split, the moment it was known.

    Args:
        at: Unix time in seconds.
        loss: Nats a class decision.
        trained: False for a linear head on frozen features.
    """

    at: float
    loss: float
    trial: str
    trained: bool = True


class Winner(Record):
    """The model that a search leaves behind; its loss is the mean of the items' losses."""

    trial: str
    what: str
    validation_loss: float
    test_loss: float | None
    test_accuracy: float | None


class Told(Record):
    """All that a contender says of its search.

    Args:
        seen: In the order of time.
        searched_at: Unix time at which the last trial ended.
        states: How many trials ended how.
        winner: After whatever the contender does when the search is over.
        others: Other models on the same splits, by name.
    """

    seen: tuple[Seen, ...]
    searched_at: float
    states: dict[str, int]
    winner: Winner
    others: tuple[Winner, ...] = ()


class Point(Record):
    """A validation loss and what had been spent until it was known, in seconds."""

    loss: float
    cpu: float
    wall: float
    trained: bool


class Outcome(Artifact):
    """One contender's run. Times are seconds since its process began; ``timeline`` holds seconds
    on the clock and CPU seconds used until then."""

    name: str
    points: tuple[Point, ...]
    search_cpu: float
    search_wall: float
    total_cpu: float
    total_wall: float
    load: tuple[float, float]
    states: dict[str, int]
    winner: Winner
    others: tuple[Winner, ...]
    timeline: tuple[tuple[float, float], ...]

    @property
    def best(self) -> float:
        """The lowest loss that any trial showed."""
        return min(point.loss for point in self.points)

    def first(self, level: float, trained_only: bool = False) -> Point | None:
        """The first model that was at least as good as a level; None if none was."""
        for point in self.points:
            if point.loss <= level and (point.trained or not trained_only):
                return point
        return None


class Diary:
    """A file that a contender's processes write to while they run, line by line.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def saw(self, loss: float, trial: str) -> None:
        """A loss on the whole validation split."""
        seen = Seen(at=time.time(), loss=loss, trial=trial)
        json_lines.append(self.path, {"seen": seen.model_dump()})

    def ended(self, states: dict[str, int]) -> None:
        """The search is over."""
        json_lines.append(self.path, {"searched_at": time.time(), "states": states})

    def won(self, winner: Winner) -> None:
        """What the search leaves behind."""
        json_lines.append(self.path, {"winner": winner.model_dump()})

    def read(self) -> Told:
        """All of it, once the contender has ended.

        Raises:
            ValidationError: It ended before its time.
        """
        seen: list[Any] = []
        rest: dict[str, Any] = {}
        for entry in json_lines.read(self.path):
            if "seen" in entry:
                seen.append(entry["seen"])
            else:
                rest |= entry
        return Told(seen=tuple(seen), **rest)
