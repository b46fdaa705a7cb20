"""``python -m sweeper.tracking NAME RUN --parent PID``: logs a run to one service as it goes on.

Waits for one word on standard input, how the run ended, logs the rest and exits with 0; with 1
where the service does not hold all of the run. What the user should know is a line on standard
output. Whatever else is printed goes to ``tracking/NAME.log`` without secrets.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import TextIO

from sweeper.child_process import die_with
from sweeper.plans import Plan
from sweeper.redaction import without_secrets
from sweeper.runfolder import RunFolder
from sweeper.tracking.base import tracker_class
from sweeper.tracking.follower import Follower

POLL_SECONDS = 1.0
MOST_WAIT_SECONDS = 60.0
"""Between two tries at a service that is away."""
NICENESS = 5
"""Training goes first, as it does before the report."""
_MOST_LOG_BYTES = 1_000_000
_LOG_END_SECONDS = 2.0
"""For the last lines of the log; a client's child process may hold it open for longer."""


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


def track(name: str, run: RunFolder, ending: _Ending, answers: TextIO) -> int:
    """Log until the run has ended, and once more then."""
    follower: Follower | None = None
    wait, told = POLL_SECONDS, False
    while True:
        last = ending.came.is_set()
        if last and not ending.state:
            return 1
        try:
            if follower is None:
                follower = Follower(run, tracker_class(name)(run, Plan.read(run.plan)))
            if last:
                follower.end(ending.state)
                return 0
            follower.catch_up()
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
    parser = argparse.ArgumentParser(prog="python -m sweeper.tracking")
    parser.add_argument("name", help="The tracker.")
    parser.add_argument("run", type=Path, help="The run's folder.")
    parser.add_argument("--parent", type=int, help="End when this process does.")
    chosen = parser.parse_args()
    if chosen.parent is not None:
        die_with(chosen.parent)
    os.nice(NICENESS)
    if chosen.name == "tensorboard":
        # tensorboardX loads torch where it can, though it works without: 200 MiB for nothing.
        # MLflow takes the name in sys.modules for a torch that is loaded, and imports it.
        sys.modules["torch"] = None  # type: ignore[assignment]
    run = RunFolder(chosen.run)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with answers, _logged_to(run.tracking / f"{chosen.name}.log"):
        ending = _Ending(sys.stdin)
        ending.start()
        return track(chosen.name, run, ending, answers)


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())  # a client's threads may wait for a server that never answers
