"""Progress of a sweep: redrawn on a terminal, plain lines elsewhere, or JSON events.

All of it goes to stderr.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text

from sweeper import units
from sweeper.execution.state.events import Event, now
from sweeper.execution.state.status import Running, Status
from sweeper.findings import words
from sweeper.objective import LOSS, Objective
from sweeper.views.console import LogFormat, ProgressMode, err, is_live
from sweeper.views.html import pre
from sweeper.views.work_progress import Hidden, sentence
from sweeper.visible import visible

HEARTBEAT_SECONDS = 60.0
LINES = 12
# Every update is a message to the browser, which may be far away.
_NOTEBOOK_SECONDS = 0.5

# What a reader wants to see of a configuration, shortest name first.
_SHORT = {
    "r": "r",
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_virtual_tokens": "tokens",
    "reduction_factor": "reduce",
}


class ProgressView(Protocol):
    """Receives every event, with the status after it."""

    def __call__(self, event: Event, status: Status) -> None: ...

    def close(self) -> None: ...


def progress(
    mode: ProgressMode = "auto", log_format: LogFormat = "text", *, quiet: bool = False
) -> ProgressView:
    """The view that fits the stream."""
    if log_format == "jsonl":
        return JsonProgress()
    if quiet or mode == "none":
        return Hidden()
    if mode == "auto" and err().is_jupyter:
        return NotebookProgress()
    return LiveProgress() if is_live(mode) else PlainProgress()


class JsonProgress:
    """Every event as one line of JSON, for machines."""

    def __call__(self, event: Event, status: Status) -> None:
        print(event.model_dump_json(exclude_defaults=True), file=sys.stderr, flush=True)

    def close(self) -> None:
        return


class PlainProgress:
    """One line a change of state and a heartbeat; no carriage return, no escape sequence."""

    def __init__(self, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._seconds = heartbeat_seconds
        self._status: Status | None = None
        self._changed, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def __call__(self, event: Event, status: Status) -> None:
        self._status = status
        if event.kind not in ("rung", "progress"):
            self._changed.set()
            print(plain_line(event, status), file=sys.stderr, flush=True)

    def _beat(self) -> None:
        """Print a heartbeat when nothing else was printed for a while."""
        while not self._closed.is_set():
            quiet = not self._changed.wait(self._seconds)
            self._changed.clear()
            if quiet and self._status is not None and not self._closed.is_set():
                print(f"{now()} heartbeat {_alive(self._status)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._closed.set()
        self._changed.set()
        self._thread.join()


def plain_line(event: Event, status: Status) -> str:
    """One event as ``key=value`` pairs that grep and people can read."""
    parts = [event.at]
    if event.trial is not None and not event.job:
        parts += [f"trial={event.trial}", f"state={(event.state or 'running').lower()}"]
    elif event.job:
        state = event.state or ("running" if event.kind == "job-started" else event.kind)
        parts += [f"job={event.job}", f"state={state.lower()}"]
    else:
        parts += [event.kind] if event.kind != "phase" else [f"phase={event.state}"]
    if event.strategy:
        parts.append(f"strategy={event.strategy}")
    if event.validation_loss is not None:
        parts.append(f"val={event.validation_loss:.4f}")
    if event.objective is not None:
        parts.append(f"{status.objective.title.replace(' ', '_')}={event.objective:.4f}")
    if event.kind == "trial-ended":
        parts.append(_counts(status))
        parts += [] if status.outlook is None else [f"({status.outlook})"]
    if event.text:
        parts.append(event.text)
    return visible(" ".join(parts))


def _counts(status: Status) -> str:
    best = f"best={status.best.trial} " if status.best else ""
    return f"{best}done={status.done}/{status.trials}"


def _alive(status: Status) -> str:
    """Progress of the run, and the work without rungs that is under way."""
    return " ".join([_counts(status), *filter(None, map(_doing, status.running))])


def _doing(running: Running) -> str:
    """Work without rungs: ``scoring validation: 3 of 12``; empty if there is none."""
    if not running.doing or not running.of:
        return running.doing
    return sentence(running.doing, running.done, running.of)


class LiveProgress:
    """At most twelve lines, redrawn at most four times a second; ended trials scroll away."""

    def __init__(self) -> None:
        self._console = err()
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, auto_refresh=False
        )
        self._live.start()
        self._drawn = 0.0

    def __call__(self, event: Event, status: Status) -> None:
        if event.kind not in ("rung", "progress", "trial-started", "job-started"):
            line = ended_line(event, status.objective)
            self._console.print(Text(line), soft_wrap=True)
        if time.monotonic() - self._drawn >= 0.25:
            self._drawn = time.monotonic()
            width = self._console.width
            self._live.update(Group(*(Text(line) for line in view(status, width))), refresh=True)

    def close(self) -> None:
        self._live.stop()


class NotebookProgress:
    """The same lines in a notebook's cell, below those of the trials that ended last.

    IPython redraws them: rich would need ipywidgets, which not every notebook has.
    """

    def __init__(self) -> None:
        self._display = importlib.import_module("IPython.display")
        self._handle = self._display.display(self._display.HTML(""), display_id=True)
        self._ended: deque[str] = deque(maxlen=LINES)
        self._drawn = 0.0
        self._status: Status | None = None

    def __call__(self, event: Event, status: Status) -> None:
        if event.kind not in ("rung", "progress", "trial-started", "job-started"):
            self._ended.append(ended_line(event, status.objective))
        self._status = status
        if time.monotonic() - self._drawn >= _NOTEBOOK_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        lines = [*self._ended, *([] if self._status is None else view(self._status, 100))]
        self._handle.update(self._display.HTML(pre(lines)))

    def close(self) -> None:
        self._draw()


def ended_line(event: Event, objective: Objective = LOSS) -> str:
    """The line that stays on the screen after a trial or job has ended."""
    name = (
        f"#{event.trial}" if event.trial is not None and not event.job else event.job or event.kind
    )
    value = (
        f" val {units.number(event.validation_loss)}" if event.validation_loss is not None else ""
    )
    if event.objective is not None:
        value += f" {objective.title} {units.number(event.objective)}"
    took = f" in {units.duration(event.seconds)}" if event.seconds else ""
    what = _parameters(event.strategy, event.parameters)
    parts = [name, what, event.state.lower() + value + took, event.text]
    return "  ".join(filter(None, parts))


def view(status: Status, width: int) -> list[str]:
    """The lines of the live view, for a terminal of that width.

    Under 80 columns the bar goes, then the median; a number is never cut.
    """
    lines = [_headline(status, width)]
    room = LINES - 2 - (status.outlook is not None)
    lines += [_running_line(one, width, status.objective) for one in status.running[:room]]
    if status.best is not None:
        best, title = status.best, status.objective.title
        default = f", best default {units.number(status.default.value)}" if status.default else ""
        name = "val" if status.objective.is_loss else title
        lines.append(
            f"best #{best.trial} {_parameters(best.strategy, best.parameters)}  "
            f"{name} {units.number(best.value)} ({status.objective.direction}){default}"
            f"{''.join(f', over the limit on {title}' for title in best.over_limits)}"
        )
    if status.outlook is not None:
        lines.append(str(status.outlook))
    return lines


def _headline(status: Status, width: int) -> str:
    bar = ""
    if width >= 80:
        full = round(10 * status.done / max(status.trials, 1))
        bar = f" {'#' * full}{'-' * (10 - full)}"
    failed = status.failed - status.out_of_memory
    counts = [f"{status.complete} ok", f"{status.pruned} pruned"]
    counts += [f"{status.out_of_memory} OOM"] if status.out_of_memory else []
    counts += [f"{failed} failed"] if failed else []
    eta = units.span(status.eta.low, status.eta.high) if status.eta else "estimating"
    if status.phase != "search":
        jobs = f" {status.jobs_done}/{status.jobs} jobs" if status.jobs else ""
        left = f"  ETA {eta}" if status.eta else ""
        done = f"{status.done}/{status.trials}"
        return f"{status.phase}{jobs}  sweep {done}  {' '.join(counts)}{left}"
    return f"sweep {status.done}/{status.trials}{bar}  {' '.join(counts)}  ETA {eta}"


def _running_line(running: Running, width: int, objective: Objective) -> str:
    name = f"#{running.trial}" if running.trial is not None and not running.job else running.job
    parts = [f"{name} {_parameters(running.strategy, running.parameters)}".rstrip()]
    if running.rungs:
        parts.append(f"{running.rung}/{running.rungs}")
    if running.validation_loss is not None:
        median = running.median_here
        here = (
            f" (median here {units.number(median)})" if median is not None and width >= 80 else ""
        )
        shown = f"val {units.number(running.validation_loss)}"
        if running.objective is not None:
            shown += f" {objective.title} {units.number(running.objective)}"
        parts.append(f"{shown}{here}")
    if doing := _doing(running):
        parts.append(doing)
    return "  ".join(parts)


def _parameters(strategy: str, parameters: Mapping[str, object]) -> str:
    shown = [f"{_SHORT[key]}={words.value(parameters[key])}" for key in _SHORT if key in parameters]
    return " ".join([strategy, *shown]).strip()
