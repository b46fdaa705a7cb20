"""Signals to the command: the first stops it cleanly, the second at once, the third kills it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# A lost terminal (HUP) counts as TERM.
_COUNTS_AS = {signal.SIGHUP: signal.SIGTERM}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call ``handler`` on signals; no effect outside the main thread, where Python forbids it."""
    main = threading.current_thread() is threading.main_thread()
    earlier_handlers = {number: signal.signal(number, handler) for number in _SIGNALS if main}
    try:
        yield
    finally:
        for number, earlier in earlier_handlers.items():
            signal.signal(number, earlier)


@contextmanager
def leaving_on_signals(message: str = "") -> Iterator[None]:
    """End the process on a signal, with exit code 128 + its number.

    Args:
        message: Text for stderr if a signal arrives.
    """
    try:
        with _handled_by(_leave):
            yield
    except SystemExit:
        if message:
            print(message, file=sys.stderr, flush=True)
        raise


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + _COUNTS_AS.get(signal.Signals(number), number))


class Signals:
    """Counts the signals received; the third ends the process.

    ``number`` is that of the first signal, None until it arrives; HUP counts as TERM.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = 0

    def count_signal(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.number is None:
            self.number = _COUNTS_AS.get(signal.Signals(number), number)
        if self.count > 2:
            os._exit(128 + self.number)


@contextmanager
def counted_signals() -> Iterator[Signals]:
    """A context that counts the signals received within it."""
    signals = Signals()
    with _handled_by(signals.count_signal):
        yield signals
