"""Checks of which two end their process; without torch, which takes long to load."""

from __future__ import annotations

import os
import signal
import time

from sweeper.child_process import tell_event
from sweeper.features.doctor._results import BEGUN, CheckAnswer, CheckRequest, Result


def answer(request: CheckRequest) -> CheckAnswer:
    """Run the checks that are left."""
    for name in ("exits", "works", "is killed", "last"):
        if name in request.done:
            continue
        tell_event(**{BEGUN: name})
        if name == "exits":
            os._exit(1)
        if name == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        tell_event(**Result(name=name, state="ok").model_dump())
        if name == "works":
            return CheckAnswer(complete=False)  # the next process goes on
    return CheckAnswer(complete=True)


def slow_answer(request: CheckRequest) -> CheckAnswer:
    """Run the checks that are left, of which the first one hangs."""
    for name in ("hangs", "last"):
        if name not in request.done:
            tell_event(**{BEGUN: name})
            if name == "hangs":
                time.sleep(1000)
            tell_event(**Result(name=name, state="ok").model_dump())
    return CheckAnswer(complete=True)
