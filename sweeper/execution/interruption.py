"""Signals to the coordinating command: the first asks it to end well, the second to end now."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While the ``with`` block runs, signals are counted and not obeyed, up to the third.

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

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.number is None:
            self.number = signal.SIGTERM if number == signal.SIGHUP else number
        if self.count > 2:
            os._exit(128 + self.number)
