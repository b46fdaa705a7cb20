"""Lines about work that takes longer than two seconds: what it is, and how much of it is done.

A command prints the lines; without a listener they are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

SECONDS = 2.0
"""Before the first line."""

GROWTH = 0.25
"""How much of the time so far passes until the next line: an hour has 30 lines."""

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Give all further lines to ``listener``, in place of an earlier one."""
    _listeners[:] = [listener]


def with_progress(
    items: Iterable[Item], what: str, of: int, done: Callable[[], int] | None = None
) -> Iterator[Item]:
    """The same items, with a line now and then about how many of them are done.

    Args:
        what: The work, as a person would call it: "reading rows.jsonl".
        of: How much there is to do.
        done: How much of it is done; the number of items if None.
    """
    begun = last = time.monotonic()
    for count, item in enumerate(items):
        if (now := time.monotonic()) - last >= max(SECONDS, GROWTH * (last - begun)):
            last = now
            share = (done() if done else count) / max(of, 1)
            for listener in _listeners:
                listener(f"{what}: {min(share, 1):.0%}, {now - begun:.0f} s")
        yield item
