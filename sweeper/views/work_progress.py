"""Progress of work other than trials, on stderr: downloads, conversions, scoring of models."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sweeper.artifact import now
from sweeper.views.console import LogFormat, ProgressMode, can_redraw, err

# Shortest time between two lines of text, and between two lines of JSON.
LINE_SECONDS = 10.0
_JSON_SECONDS = 1.0


class WorkProgress(Protocol):
    """Shows the progress of work: its name, and the done and total amounts.

    It may be called at any rate and from any thread.
    """

    def __call__(self, what: str, done: int, of: int) -> None: ...

    def close(self) -> None:
        """Restore the terminal. The next call shows progress again."""


def work_progress(
    mode: ProgressMode = "auto", log_format: LogFormat = "text", *, quiet: bool = False
) -> WorkProgress:
    """The view for a mode and a format, on a terminal or elsewhere."""
    if log_format == "jsonl":
        return Lines(_print_json, _JSON_SECONDS)
    if quiet or mode == "none":
        return Hidden()
    return Bar() if can_redraw(mode) else Lines(_print_plain)


class Hidden:
    """Shows nothing."""

    def __call__(self, *_: object, **_named: object) -> None:
        return

    def close(self) -> None:
        return


class Lines:
    """Prints lines at intervals.

    Args:
        say: Called with the work, the amount done, and the total.
        seconds: Shortest time between two lines, and before the first.
    """

    def __init__(self, say: Callable[[str, int, int], None], seconds: float | None = None) -> None:
        self._say = say
        self._seconds = LINE_SECONDS if seconds is None else seconds
        self._last_line_at: float | None = None

    def __call__(self, what: str, done: int, of: int) -> None:
        clock = time.monotonic()
        if self._last_line_at is None:
            self._last_line_at = clock
        if clock - self._last_line_at >= self._seconds:
            self._last_line_at = clock
            self._say(what, done, of)

    def close(self) -> None:
        self._last_line_at = None


def _print_plain(what: str, done: int, of: int) -> None:
    print(f"{now()} progress {sentence(what, done, of)}", file=sys.stderr, flush=True)


def _print_json(what: str, done: int, of: int) -> None:
    event = {"kind": "progress", "at": now(), "what": what, "done": done, "of": of}
    print(json.dumps(event), file=sys.stderr, flush=True)


def sentence(what: str, done: int, of: int) -> str:
    """The progress as a sentence.

    >>> sentence("converting", 3, 12)
    'converting: 3 of 12'
    """
    return f"{what}: {done} of {of}"


class Bar:
    """A progress bar on a terminal, removed when the work is done."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, what: str, done: int, of: int) -> None:
        progress = self._progress
        if progress is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            progress = Progress(*columns, console=err(), transient=True)
            progress.add_task(what, total=of)
            progress.start()
            self._progress = progress
        if progress.tasks[0].description != what:
            progress.reset(progress.tasks[0].id, description=what)
        progress.update(progress.tasks[0].id, completed=done, total=of)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
