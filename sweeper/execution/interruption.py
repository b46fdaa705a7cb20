"""Signals to the command: the first stops it in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A vanished terminal counts as TERM.
_COUNTS_AS = {signal.SIGHUP: signal.SIGTERM}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Let a signal end the process with the documented code, while nothing needs cleaning up."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            before[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + _COUNTS_AS.get(signal.Signals(number), number))


class Signals:
    """Counts signals during the ``with`` block; the third ends the process.

    ``number`` is that of the first one; a vanished terminal counts as TERM. Outside of the main
    thread Python cannot take signals: there nothing is changed.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.number is None:
            self.number = _COUNTS_AS.get(signal.Signals(number), number)
        if self.count > 2:
            os._exit(128 + self.number)
