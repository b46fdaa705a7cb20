"""How far long work without rungs is: told at most twice a second, and ended when asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from sweeper.backend import Interrupted, Tell

Steps = Callable[[int, int], None]
"""Takes how much of one piece of work is done, and of how much."""

_EVERY_SECONDS = 0.5


def nothing(_done: int, _of: int) -> None:
    """Ignore the progress."""


class Underway:
    """Passes on how far work is, and ends it with ``Interrupted``.

    Args:
        tell: Called at the beginning of each piece of work, then at most twice a second.
    """

    def __init__(
        self,
        tell: Tell = lambda _what, _done, _of: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._last: tuple[str, float] | None = None
        self.should_stop: Callable[[], bool] = lambda: False
        self.title = ""

    def __call__(self, what: str, done: int, of: int) -> None:
        """Say that so much of a piece of work is done.

        Args:
            what: The work, as a person would call it: "scoring validation".
            of: Steps in all; 0 where nobody knows.

        Raises:
            Interrupted: ``should_stop`` said True.
        """
        if self.should_stop():
            raise Interrupted
        what = f"{self.title}: {what}" if self.title else what
        now = self._clock()
        if self._last is not None:
            last, told = self._last
            if what == last and now - told < _EVERY_SECONDS:
                return
        self._last = what, now
        self._tell(what, done, of)

    def steps(self, what: str) -> Steps:
        return partial(self, what)
