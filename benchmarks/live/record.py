"""What a contender says while it runs, and what is kept of it: one file for each.

Only types and their files. Knows nothing of training.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import json_lines

Mode = Literal["like", "whole"]
MODES: tuple[Mode, ...] = ("like", "whole")


@dataclass(frozen=True)
class Seen:
    """A model's loss on the whole validation split, the moment it was known.

    Args:
        at: Unix time in seconds.
        loss: Nats a class decision.
        trial: Whose.
        trained: False for a linear head on frozen features.
    """

    at: float
    loss: float
    trial: str
    trained: bool = True


@dataclass(frozen=True)
class Winner:
    """The model that a search leaves behind; its loss is the mean of the items' losses."""

    trial: str
    what: str
    validation_loss: float
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True)
class Told:
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


@dataclass(frozen=True)
class Point:
    """A validation loss and what had been spent until it was known, in seconds."""

    loss: float
    cpu: float
    wall: float
    trial: str
    trained: bool = True


@dataclass(frozen=True)
class Outcome:
    """One contender's run. Times are seconds since its process began; ``timeline`` holds seconds
    on the clock and CPU seconds used until then."""

    mode: str
    name: str
    points: tuple[Point, ...]
    search_cpu: float
    search_wall: float
    total_cpu: float
    total_wall: float
    load: tuple[float, float]
    states: dict[str, int]
    winner: Winner
    others: tuple[Winner, ...] = ()
    timeline: tuple[tuple[float, float], ...] = ()

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

    def write(self, path: Path) -> None:
        """Into a file that is whole or not there."""
        half = path.with_suffix(".half")
        half.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        half.replace(path)

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """Back from its file."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept["points"] = tuple(Point(**one) for one in kept["points"])
        kept["others"] = tuple(Winner(**one) for one in kept["others"])
        kept["winner"] = Winner(**kept["winner"])
        kept["load"] = tuple(kept["load"])
        kept["timeline"] = tuple(tuple(one) for one in kept.get("timeline", ()))
        return cls(**kept)


class Diary:
    """A file that a contender's processes write to while they run, line by line.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def saw(self, loss: float, trial: str) -> None:
        """A loss on the whole validation split."""
        json_lines.append(self.path, {"seen": asdict(Seen(time.time(), loss, trial))})

    def ended(self, states: dict[str, int]) -> None:
        """The search is over."""
        json_lines.append(self.path, {"ended": {"at": time.time(), "states": states}})

    def won(self, winner: Winner) -> None:
        """What the search leaves behind."""
        json_lines.append(self.path, {"winner": asdict(winner)})

    def read(self) -> Told:
        """All of it, once the contender has ended.

        Raises:
            KeyError: It ended before its time.
        """
        seen: list[Seen] = []
        rest: dict[str, Any] = {}
        for entry in json_lines.read(self.path):
            if "seen" in entry:
                seen.append(Seen(**entry["seen"]))
            rest |= entry
        ended = rest["ended"]
        return Told(tuple(seen), ended["at"], ended["states"], Winner(**rest["winner"]))
