"""``python -m sweeper.processes.listener_process FEATURE NAME RUN``: one listener of a run.

Reads the request from the first line of standard input, and how the run ended from the second one.
Exits with 0, or with 1 if the listener does not have all of the run. What the user should know is a
line on standard output. Whatever else is printed goes to ``listeners/FEATURE/NAME.log`` without
secrets.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import TextIO

from sweeper.child_process import die_with
from sweeper.features import parts
from sweeper.redaction import without_secrets
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

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


def follow(make: Callable[[], parts.Listener], ending: _Ending, answers: TextIO) -> int:
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
                print(_line(error), file=answers, flush=True)
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


def main() -> int:
    """Follow the run of the process that started this one, and end with it."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.processes.listener_process")
    parser.add_argument("feature", help="The feature.")
    parser.add_argument("name", help="The name of its listener.")
    parser.add_argument("run", type=Path, help="The run's folder.")
    parser.add_argument("--parent", type=int, help="End when this process does.")
    chosen = parser.parse_args()
    if chosen.parent is not None:
        die_with(chosen.parent)
    os.nice(NICENESS)
    run = RunFolder(chosen.run)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with answers, _logged_to(run.listeners / chosen.feature / f"{chosen.name}.log"):
        spec = Spec.model_validate_json(sys.stdin.readline())
        ending = _Ending(sys.stdin)
        ending.start()

        def make() -> parts.Listener:
            return parts.LISTEN.of(chosen.feature)(chosen.name, run, spec)

        return follow(make, ending, answers)


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # a client's threads may wait for a server that never answers
