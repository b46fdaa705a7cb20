"""Lines about work that takes longer than two seconds: what it is, and how much of it is done.

A listener, such as a command's terminal, gets the lines; without one they are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

FIRST_LINE_SECONDS = 2.0
"""The first line comes after this time."""

INTERVAL_SHARE = 0.25
"""Each next line comes after this share of the time until the last one: an hour has 30 lines."""

_listeners: list[Callable[[str], None]] = []
"""The last listener; empty before ``listen`` is called."""


def listen(listener: Callable[[str], None]) -> None:
    """Give all further lines to ``listener``, which takes the place of an earlier one."""
    _listeners[:] = [listener]


def with_progress(
    items: Iterable[Item], what: str, total: int, done_so_far: Callable[[], int] | None = None
) -> Iterator[Item]:
    """The same items, with a line now and then about how many of them are done.

    Args:
        what: The work, as a person would call it: "reading rows.jsonl".
        total: The amount of work.
        done_so_far: Function that returns the amount done; None to count items.
    """
    start = last_line = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if now - last_line >= max(FIRST_LINE_SECONDS, INTERVAL_SHARE * (last_line - start)):
            last_line = now
            share = (done_so_far() if done_so_far else count) / max(total, 1)
            for listener in _listeners:
                listener(f"{what}: {min(share, 1):.0%}, {now - start:.0f} s")
        yield item
