"""Whether the system killed a process because memory ran out: read from the kernel's counters.

Knows where Linux counts such kills, not which process it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A killed process may take a while to give its memory back before its parent hears of its end;
# what was counted longer ago was somebody else's.
REMEMBERED_SECONDS = 60.0


def counter_file(groups: str | None = None, mounted: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts kills among this process and those that it starts; None without one.

    A control group's own counter where there is one (``memory.events`` of cgroup v2,
    ``memory.oom_control`` of v1; kernel.org, admin-guide/cgroup-v2 and cgroup-v1/memory), else
    that of the whole machine, ``/proc/vmstat``.

    Args:
        groups: Text of ``/proc/self/cgroup``; read if None.
        mounted: Where control groups are mounted.
    """
    if groups is None:
        groups = _text(Path("/proc/self/cgroup"))
    places = [*_places(groups, mounted), Path("/proc/vmstat")]
    return next((place for place in places if kills_in(place) is not None), None)


def _places(groups: str, mounted: Path) -> Iterator[Path]:
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        # Within a container the path may be the host's: its own group is then what is mounted.
        for own in (path.strip("/"), ""):
            if not controllers:
                yield mounted / own / "memory.events"
            elif "memory" in controllers.split(","):
                yield mounted / "memory" / own / "memory.oom_control"


def kills_in(place: Path) -> int | None:
    """The number of kills in a counter file; None if it has none."""
    for line in _text(place).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass
class OomKills:
    """Counted kills that are not yet matched to a process.

    Args:
        place: The counter; None where there is none, which then never says anything.
    """

    place: Path | None = field(default_factory=lambda: counter_file())
    clock: Callable[[], float] = time.monotonic
    _counted: int | None = None
    _open: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Read the counter. Call it often, so that the time of a rise is known."""
        counted = None if self.place is None else kills_in(self.place)
        if counted is None:
            return
        now = self.clock()
        rise = counted - (counted if self._counted is None else self._counted)
        self._open = [at for at in self._open if now - at < REMEMBERED_SECONDS]
        self._open += [now] * rise
        self._counted = counted

    def was_one(self) -> bool:
        """Whether a process that was just killed may have been killed for its memory."""
        self.look()
        found = bool(self._open)
        del self._open[:1]
        return found
