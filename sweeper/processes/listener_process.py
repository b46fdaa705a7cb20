"""One listener of a run, in a process of its own.

Reads how the run ended from standard input. Exits with 0, or with 1 if the listener does not have
all of the run. What the user should know is an event. Whatever is printed goes to
``listeners/FEATURE/NAME.log`` without secrets.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import TextIO

from sweeper.child_process import tell_event
from sweeper.features import parts
from sweeper.processes.listeners import ListenerRequest
from sweeper.redaction import without_secrets
from sweeper.runfolder import RunFolder

POLL_SECONDS = 1.0
MOST_WAIT_SECONDS = 60.0
"""Between two tries of a listener that fails."""
NICENESS = 5
"""Training goes first, as it does before the report."""
_MOST_LOG_BYTES = 1_000_000
_LOG_END_SECONDS = 2.0
"""For the last lines of the log; a child process of a client may hold it open for longer."""


class _Ending(threading.Thread):
    """Waits for the end of the run; ``state`` is empty if the command died."""

    def __init__(self, requests: TextIO) -> None:
        super().__init__(daemon=True)
        self._requests = requests
        self.state = ""
        self.came = threading.Event()

    def run(self) -> None:
        self.state = self._requests.readline().strip()
        self.came.set()


def follow(make: Callable[[], parts.Listener], ending: _Ending) -> int:
    """Let a listener catch up until the run has ended, and take in the end then.

    Args:
        make: Makes the listener; tried again if it fails.
    """
    listener: parts.Listener | None = None
    wait, told = POLL_SECONDS, False
    while True:
        last = ending.came.is_set()
        if last and not ending.state:
            return 1
        try:
            if listener is None:
                listener = make()
            if last:
                listener.end(ending.state)
                return 0
            listener.catch_up()
            wait = POLL_SECONDS
        except Exception as error:  # noqa: BLE001 - a client raises whatever it likes
            traceback.print_exc()
            if last or not told:
                told = True
                tell_event(text=_line(error))
            if last:
                return 1
            wait = min(2 * wait, MOST_WAIT_SECONDS)
        ending.came.wait(wait)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0]}".rstrip(".") if lines else type(error).__name__
    return shorten(without_secrets(said), 160, placeholder=" ...")


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Redirect the output of this process and its children to a file, without secrets."""
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(writing, stream.fileno())
    os.close(writing)

    def copy() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        left = _MOST_LOG_BYTES
        with (
            os.fdopen(reading, encoding="utf-8", errors="replace") as lines,
            path.open("a", encoding="utf-8") as log,
        ):
            for line in lines:  # even where nothing more is kept: a full pipe would stop the writer
                if left > 0:
                    left -= log.write(without_secrets(line))
                    log.flush()

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    try:
        yield
    finally:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(nothing, stream.fileno())  # closes the pipe, which ends the copy
        copier.join(_LOG_END_SECONDS)


def listen(request: ListenerRequest) -> None:
    """Follow the run of the process that started this one, and end with it."""
    os.nice(NICENESS)
    run = RunFolder(Path(request.run))
    with _logged_to(run.listeners / request.feature / f"{request.name}.log"):
        ending = _Ending(sys.stdin)
        ending.start()

        def make() -> parts.Listener:
            return parts.LISTEN.of(request.feature)(request.name, run, request.spec)

        status = follow(make, ending)
    os._exit(status)  # without an answer; a client's threads may wait for a server
