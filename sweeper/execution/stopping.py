"""How a worker learns that it must stop: a signal, or the death of the command that started it.

Knows nothing about what the worker is doing.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


class StopFlag:
    """Set by SIGTERM; to be asked often. SIGINT is left to the command, which tells its workers."""

    def __init__(self, parent: int | None) -> None:
        self._asked = False
        self._parent = parent
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN if parent else self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def __call__(self) -> bool:
        return self._asked or self.orphaned()

    def orphaned(self) -> bool:
        """Whether the command that started this worker is gone."""
        return self._parent is not None and os.getppid() != self._parent
