"""The processes of features that listen to a run: started, heard and ended.

The run waits for none of them: they read the run's folder, and have a limited time at its end. A
process reads on standard input how the run ended. It exits with 0, or with 1 if the listener does
not have all of the run. What the user should know is an event. Whatever is printed goes to
``listeners/FEATURE/NAME.log`` without secrets.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TextIO

from sweeper.artifact import Record
from sweeper.child_process import start_child, tell_event
from sweeper.execution.state.events import Event, make_event
from sweeper.execution.state.status import Status
from sweeper.features import parts
from sweeper.jsontext import object_of
from sweeper.redaction import without_secrets
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

HURRIED_SECONDS = 10.0
"""For all listeners of a run that a signal has ended."""
_FOLLOW = "sweeper.processes.listeners:listen"
POLL_SECONDS = 1.0
MOST_WAIT_SECONDS = 60.0
"""Between two tries of a listener that fails."""
NICENESS = 5
"""Training goes first, as it does before the report."""
_MOST_LOG_BYTES = 1_000_000
_LOG_END_SECONDS = 2.0
"""For the last lines of the log; a child process of a client may hold it open for longer."""

Show = Callable[[Event, Status], None]


@dataclass(frozen=True)
class WantedListener:
    """A listener that a request asks for.

    Args:
        seconds: What it may take at the end of the run.
    """

    feature: str
    name: str
    seconds: float


class ListenerRequest(Record):
    """The listener to be, and the run that it listens to."""

    feature: str
    name: str
    run: str
    spec: Spec


def wanted_listeners(spec: Spec) -> list[WantedListener]:
    """The listeners of all features.

    Raises:
        SweeperError: One of them cannot work here, or what it needs is missing.
    """
    return [
        WantedListener(feature, name, seconds)
        for feature, hook in parts.WANTED.all()
        for name, seconds in hook(spec).items()
    ]


class Listeners:
    """One process for each listener of a run, so that a slow one holds up no other."""

    def __init__(self, folder: RunFolder, spec: Spec):
        self._folder = folder
        self._notes: list[str] = []
        self._processes: dict[WantedListener, subprocess.Popen[bytes]] = {}
        for listener in wanted_listeners(spec):
            try:
                self._processes[listener] = _start(listener, folder, spec)
            except OSError as error:
                self._notes.append(f"{listener.name} gets nothing of this run: {error}")

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish("failed", hurried=True)

    def with_warnings(self, show: Show) -> Show:
        """The view, which then also shows the warnings of the listeners."""

        def both(event: Event, status: Status) -> None:
            show(event, status)
            for text in self.heard():
                show(make_event("warning", text=text), status)

        return both

    def heard(self) -> Iterator[str]:
        """What the listeners have said since the last call. Returns at once."""
        yield from self._notes
        self._notes.clear()
        for listener, process in self._processes.items():
            for line in _said(process):
                yield (
                    f"{listener.name} does not answer at the moment ({line}). The sweep continues; "
                    "it gets the rest later"
                )

    def finish(self, state: str, *, hurried: bool = False) -> list[str]:
        """Let the listeners take in the rest, each in its own time, and end their processes.

        Args:
            hurried: Whether they have ``HURRIED_SECONDS`` instead.

        Returns:
            What the user should know.
        """
        notes, self._notes = self._notes, []
        processes, self._processes = self._processes, {}
        for process in processes.values():
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it is gone
                process.stdin.write(f"{state}\n".encode())
                process.stdin.close()
        began = time.monotonic()
        try:
            for listener, process in processes.items():
                seconds = min(listener.seconds, HURRIED_SECONDS) if hurried else listener.seconds
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, began + seconds - time.monotonic()))
                if why := _lacking(process, seconds):
                    log = self._folder.listeners / listener.feature / f"{listener.name}.log"
                    notes.append(
                        f"{listener.name} does not have all of this run: {why}. Give the same "
                        f"command again for the rest. Details are in {log}"
                    )
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
        return notes


def _lacking(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Why a listener does not have all of a run; empty where it has."""
    status = process.poll()
    if status == 0:
        return ""
    if status is None:
        return f"it took longer than {seconds:g} s"
    return [f"it ended with {status}", *_said(process)][-1]


def _start(listener: WantedListener, folder: RunFolder, spec: Spec) -> subprocess.Popen[bytes]:
    process = start_child(
        _FOLLOW,
        ListenerRequest(
            feature=listener.feature, name=listener.name, run=str(folder.path), spec=spec
        ),
        stderr=subprocess.DEVNULL,  # it has a log of its own
        bufsize=0,
        start_new_session=True,  # Ctrl-C reaches the command alone
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return process


def _said(process: subprocess.Popen[bytes]) -> list[str]:
    """Lines that are there already. A line is short, and written in one piece."""
    assert process.stdout is not None
    text = process.stdout.read(65536)
    return [object_of(line)["event"]["text"] for line in text.splitlines()] if text else []


# In the process of a listener


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
    wait, warned = POLL_SECONDS, False
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
            if last or not warned:
                warned = True
                tell_event(text=_line(error))
            if last:
                return 1
            wait = min(2 * wait, MOST_WAIT_SECONDS)
        ending.came.wait(wait)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}".rstrip(".") if lines else type(error).__name__
    return shorten(without_secrets(text), 160, placeholder=" ...")


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
