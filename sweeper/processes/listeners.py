"""The processes of features that listen to a run: starts them, reads their messages, ends them.

The run does not wait for them: they read the run's folder, and have limited time at its end. A
process reads on standard input how the run ended. It exits with 0, or with 1 if the listener misses
a part of the run. It sends messages to the user as events. Its other output goes to
``listeners/FEATURE/NAME.log`` without secrets.
"""

from __future__ import annotations

import contextlib
import os
import select
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
from sweeper.child_process import Child, outcome, start_child, tell_event
from sweeper.execution.state.status import Event, Status, make_event
from sweeper.features import parts
from sweeper.runfolder import RunFolder
from sweeper.safe_text import without_secrets
from sweeper.spec import Spec
from sweeper.textfiles import json_object

HURRIED_SECONDS = 10.0
"""Time limit of all listeners after a run that a signal ended."""
_LISTEN_FUNCTION = "sweeper.processes.listeners:listen"
POLL_SECONDS = 1.0
"""Interval at which a listener reads what is new in the run's folder."""
MAX_WAIT_SECONDS = 60.0
"""Longest wait before a listener that failed is tried again."""
NICENESS = 5
"""Niceness of a listener: training has priority."""
_MAX_LOG_BYTES = 1_000_000
_LOG_END_SECONDS = 2.0
"""Time limit for the log's last lines, since a client's child process may hold the log open."""

Show = Callable[[Event, Status], None]


@dataclass(frozen=True)
class WantedListener:
    """A listener that a request asks for.

    Args:
        seconds: Its time limit at the end of the run.
    """

    feature: str
    name: str
    seconds: float


class ListenerRequest(Record):
    """The arguments of a listener's process: the listener and its run."""

    feature: str
    name: str
    run: str
    spec: Spec


def wanted_listeners(spec: Spec) -> list[WantedListener]:
    """The listeners of all features that a request asks for.

    Raises:
        SweeperError: A listener cannot work here, or needs a missing package.
    """
    return [
        WantedListener(feature, name, seconds)
        for feature, hook in parts.WANTED.all()
        for name, seconds in hook(spec).items()
    ]


class Listeners:
    """The processes of a run's listeners, one each, so that a slow one does not delay others."""

    def __init__(self, folder: RunFolder, spec: Spec):
        self._folder = folder
        self._notes: list[str] = []
        self._children: dict[WantedListener, Child] = {}
        for listener in wanted_listeners(spec):
            try:
                self._children[listener] = _start_listener(listener, folder, spec)
            except OSError as error:
                self._notes.append(f"{listener.name} gets nothing of this run: {error}")

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish("failed", hurried=True)

    def with_warnings(self, show: Show) -> Show:
        """A view that also shows the warnings of the listeners."""

        def show_both(event: Event, status: Status) -> None:
            show(event, status)
            for text in self.messages():
                show(make_event("warning", text=text), status)

        return show_both

    def messages(self) -> Iterator[str]:
        """The listeners' messages since the last call. Returns at once."""
        yield from self._notes
        self._notes.clear()
        for listener, child in self._children.items():
            for line in _available_messages(child):
                yield (
                    f"{listener.name} does not answer at the moment ({line}). The sweep continues; "
                    "it gets the rest later"
                )

    def finish(self, state: str, *, hurried: bool = False) -> list[str]:
        """Let each listener read the rest of the run within its time, then end the processes.

        Args:
            state: How the run ended: a kind of ``RunOutcome``, or ``failed``.
            hurried: Whether they have at most ``HURRIED_SECONDS``.

        Returns:
            Messages to the user.
        """
        notes, self._notes = self._notes, []
        children, self._children = self._children, {}
        for child in children.values():
            child.send(f"{state}\n".encode())
            child.end_input()
        start = time.monotonic()
        try:
            for listener, child in children.items():
                seconds = min(listener.seconds, HURRIED_SECONDS) if hurried else listener.seconds
                status = child.wait(max(0.0, start + seconds - time.monotonic()))
                if why := _incomplete_reason(child, status, seconds):
                    log = self._folder.listeners / listener.feature / f"{listener.name}.log"
                    notes.append(
                        f"{listener.name} does not have all of this run: {why}. Give the same "
                        f"command again for the rest. Details are in {log}"
                    )
        finally:
            for child in children.values():
                child.close()
        return notes


def _incomplete_reason(child: Child, status: int | None, seconds: float) -> str:
    """Why a listener misses a part of a run; empty if it does not."""
    if status == 0:
        return ""
    if status is None:
        return f"it took longer than {seconds:g} s"
    return [f"it {outcome(status)}", *_available_messages(child)][-1]


def _start_listener(listener: WantedListener, folder: RunFolder, spec: Spec) -> Child:
    request = ListenerRequest.taken_from(listener, run=str(folder.path), spec=spec)
    return start_child(_LISTEN_FUNCTION, request, errors=subprocess.DEVNULL)  # it has its own log


def _available_messages(child: Child) -> list[str]:
    """The messages that can be read now."""
    return [json_object(line)["event"]["text"] for line in child.lines()]


# In the process of a listener


def follow(make: Callable[[], parts.Listener], requests: TextIO) -> int:
    """Let a listener follow a run until its end; returns the exit status.

    Args:
        make: Makes the listener; tried again if it fails.
        requests: A line with the final state comes when the run ends; closed if the command died.
    """
    listener: parts.Listener | None = None
    wait, warned, is_last, state = POLL_SECONDS, False, False, ""
    while True:
        if is_last and not state:  # the command died
            return 1
        try:
            if listener is None:
                listener = make()
            if is_last:
                listener.end(state)
                return 0
            listener.catch_up()
            wait = POLL_SECONDS
        except Exception as error:  # noqa: BLE001 - a client may raise anything
            traceback.print_exc()
            if is_last or not warned:
                warned = True
                tell_event(text=_error_line(error))
            if is_last:
                return 1
            wait = min(2 * wait, MAX_WAIT_SECONDS)
        is_last = bool(select.select([requests], [], [], wait)[0])
        state = requests.readline().strip() if is_last else ""


def _error_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}".rstrip(".") if lines else type(error).__name__
    return shorten(without_secrets(text), 160, placeholder=" ...")


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Redirect the output of this process and its children to a file, without secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)  # not in the thread: listeners write here, too
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(writing, stream.fileno())
    os.close(writing)

    def copy() -> None:
        remaining = _MAX_LOG_BYTES
        with (
            os.fdopen(reading, encoding="utf-8", errors="replace") as lines,
            path.open("a", encoding="utf-8") as log,
        ):
            # Lines are also read beyond the limit: a full pipe would block the process.
            for line in lines:
                if remaining > 0:
                    remaining -= log.write(without_secrets(line))
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
    """Listen to a run in this process, and end the process after the run."""
    os.nice(NICENESS)
    run = RunFolder(Path(request.run))
    with _logged_to(run.listeners / request.feature / f"{request.name}.log"):

        def make() -> parts.Listener:
            return parts.LISTEN.of(request.feature)(request.name, run, request.spec)

        status = follow(make, sys.stdin)
    os._exit(status)  # a normal exit may wait for a client's threads
