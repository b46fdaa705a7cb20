"""Progress of a sweep on stderr: redrawn on a terminal, plain lines elsewhere, or JSON events."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeper import units
from sweeper.artifact import now
from sweeper.execution.state.status import Best, Event, Status
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.objective import LOSS, Objective
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.safe_text import visible
from sweeper.views.console import (
    MAX_WIDTH,
    LogFormat,
    ProgressMode,
    can_encode_bars,
    can_redraw,
    err,
    html_of,
    text,
)
from sweeper.views.work_progress import Hidden, sentence

# Longest time without a line in plain progress.
HEARTBEAT_SECONDS = 60.0
# Maximum number of redrawn lines.
MAX_LINES = 12
# Shortest time between two updates on a terminal, and in a notebook, where each is sent to the
# browser.
_TERMINAL_SECONDS, _NOTEBOOK_SECONDS = 0.25, 0.5

# Kinds of events for which no line is printed.
SILENT_EVENTS = (
    "rung",
    "progress",
    "trial-started",
    "job-started",
    "worker-started",
    "worker-ended",
)
_SPARK_CHARACTERS = "▁▂▃▄▅▆▇█"

# The parameters of a configuration that are shown, with their short names.
_SHORT_NAMES = {
    "r": "r",
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_virtual_tokens": "tokens",
    "reduction_factor": "reduce",
}


class ProgressView(Protocol):
    """Shows every event, and the status after it."""

    def __call__(self, event: Event, status: Status) -> None: ...

    def close(self) -> None: ...


def progress(
    mode: ProgressMode = "auto",
    log_format: LogFormat = "text",
    *,
    quiet: bool = False,
    plan: Plan | None = None,
    run: RunFolder | None = None,
) -> ProgressView:
    """The view for a mode and a format, on a terminal, in a notebook or elsewhere.

    Args:
        plan: The run's plan, shown from the beginning.
        run: The run's folder, from which the interval of the best trial is read.
    """
    if log_format == "jsonl":
        return JsonProgress()
    if quiet or mode == "none":
        return Hidden()
    if mode == "auto" and err().is_jupyter:
        return NotebookProgress(Screen(plan, run))
    return LiveProgress(Screen(plan, run)) if can_redraw(mode) else PlainProgress(plan)


class JsonProgress:
    """Prints every event as a line of JSON."""

    def __call__(self, event: Event, status: Status) -> None:
        print(event.model_dump_json(exclude_defaults=True), file=sys.stderr, flush=True)

    def close(self) -> None:
        return


class PlainProgress:
    """Prints a line without escape sequences for each trial, job and phase, and heartbeats."""

    def __init__(
        self, plan: Plan | None = None, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        if plan is not None:
            print(visible(f"{now()} {plan_line(plan)}"), file=sys.stderr, flush=True)
        self._heartbeat_seconds = heartbeat_seconds
        self._status: Status | None = None
        self._printed, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._print_heartbeats, daemon=True)
        self._thread.start()

    def __call__(self, event: Event, status: Status) -> None:
        self._status = status
        if event.kind not in SILENT_EVENTS:
            self._printed.set()
            print(plain_line(event, status), file=sys.stderr, flush=True)

    def _print_heartbeats(self) -> None:
        """Print a heartbeat when nothing else was printed for a while."""
        while not self._closed.is_set():
            is_quiet = not self._printed.wait(self._heartbeat_seconds)
            self._printed.clear()
            if is_quiet and self._status is not None and not self._closed.is_set():
                print(f"{now()} heartbeat {_heartbeat(self._status)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._closed.set()
        self._printed.set()
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
        parts.append(_count_pairs(status))
        parts += [] if status.outlook is None else [f"({status.outlook})"]
    if event.text:
        parts.append(event.text)
    return visible(" ".join(parts))


def _count_pairs(status: Status) -> str:
    """The best trial and the number of trials that ended, as ``key=value`` pairs."""
    best = f"best={status.best.trial} " if status.best else ""
    return f"{best}done={status.done}/{status.trials}"


def _heartbeat(status: Status) -> str:
    """The numbers of trials, and the progress of current work without rungs."""
    return " ".join([_count_pairs(status), *filter(None, map(_current_work, status.running))])


def _current_work(running: Event) -> str:
    """The current work without rungs, such as ``scoring validation: 3 of 12``; empty if none."""
    if not running.text or not running.of:
        return running.text
    return sentence(running.text, running.done or 0, running.of)


@dataclass
class Screen:
    """The content of live views besides the status: plan, curves, and the best trial's interval.

    Args:
        curves: Trial number to the loss, or the objective, at its rungs.
        interval: Text with the interval of the best trial over validation items.
    """

    plan: Plan | None = None
    run: RunFolder | None = None
    curves: dict[int, list[float]] = field(default_factory=dict)
    interval: str = ""

    def update(self, event: Event, status: Status) -> None:
        """Update curves and interval after an event."""
        value = event.validation_loss if event.objective is None else event.objective
        if event.kind == "rung" and event.trial is not None and not event.job and value is not None:
            self.curves.setdefault(event.trial, []).append(value)
        if event.kind == "trial-started" and event.trial is not None:
            self.curves.pop(event.trial, None)  # another attempt has a new curve
        if event.kind == "trial-ended" and status.best is not None and self.run is not None:
            self.interval = _interval(self.run, status.best)

    def sparkline(self, trial: int | None) -> str:
        """A trial's curve with a character per rung, on a scale that all curves share.

        Empty for a trial without losses, or if stderr cannot encode the characters.
        """
        points = [] if trial is None else self.curves.get(trial, [])
        values = [value for curve in self.curves.values() for value in curve if isfinite(value)]
        # While rich draws, sys.stderr is a proxy without an encoding.
        encoding = getattr(sys.__stderr__, "encoding", None)
        if not points or not values or not can_encode_bars(encoding):
            return ""
        minimum, span = min(values), max(values) - min(values) or 1.0
        max_level = len(_SPARK_CHARACTERS) - 1
        return "".join(
            _SPARK_CHARACTERS[round(max_level * (value - minimum) / span)]
            if isfinite(value)
            else "×"
            for value in points
        )


def plan_line(plan: Plan) -> str:
    """The plan in a line: trials, strategies and duration."""
    strategies = units.joined(list(dict.fromkeys(c.strategy for c in plan.candidates)))
    sweep = plan.budget.sweep
    return (
        f"plan  {units.plural(plan.budget.trials, 'trial')} of {strategies}, about "
        f"{units.duration(sweep.seconds)} ({units.span(sweep.low, sweep.high)})"
    )


def _interval(run: RunFolder, best: Best) -> str:
    """The best trial's interval as text; empty if the stored findings lack it."""
    findings = Findings.read_or_none(run.findings)
    for strategy in findings.strategies if findings else ():
        if strategy.best_trial == best.trial and findings:
            ends = words.interval_ends(strategy.best_interval, findings.objective)
            return f"95% CI {ends}" if ends else ""
    return ""


class LiveProgress:
    """Redraws up to ``MAX_LINES`` lines four times a second, below the lines of past events."""

    def __init__(self, screen: Screen) -> None:
        self._console, self._screen = err(), screen
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, auto_refresh=False
        )
        self._live.start()
        self._drawn_at = 0.0

    def __call__(self, event: Event, status: Status) -> None:
        self._screen.update(event, status)
        if event.kind not in SILENT_EVENTS:
            line = event_line(event, status.objective, self._screen)
            self._console.print(Text(line), no_wrap=True, overflow="ellipsis")
        if time.monotonic() - self._drawn_at >= _TERMINAL_SECONDS:
            self._drawn_at = time.monotonic()
            self._live.update(view(status, self._console.width, self._screen), refresh=True)

    def close(self) -> None:
        self._live.stop()


class NotebookProgress:
    """Redraws the live view in a notebook cell, below the lines of the last events.

    IPython redraws them, since rich would need ipywidgets, which some notebooks lack.
    """

    def __init__(self, screen: Screen) -> None:
        self._display, self._screen = importlib.import_module("IPython.display"), screen
        self._handle = self._display.display(self._display.HTML(""), display_id=True)
        self._event_lines: deque[str] = deque(maxlen=MAX_LINES)
        self._drawn_at = 0.0
        self._status: Status | None = None

    def __call__(self, event: Event, status: Status) -> None:
        self._screen.update(event, status)
        if event.kind not in SILENT_EVENTS:
            self._event_lines.append(event_line(event, status.objective, self._screen))
        self._status = status
        if time.monotonic() - self._drawn_at >= _NOTEBOOK_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        event_lines = map(text, self._event_lines)
        page = [] if self._status is None else [view(self._status, MAX_WIDTH, self._screen)]
        self._handle.update(self._display.HTML(html_of(Group(*event_lines, *page))))

    def close(self) -> None:
        self._draw()


def event_line(event: Event, objective: Objective = LOSS, screen: Screen | None = None) -> str:
    """The line that stays on the screen after an event, such as the end of a trial."""
    is_trial = event.trial is not None and not event.job
    name = f"#{event.trial}" if is_trial else event.job or event.kind
    value = ""
    if event.validation_loss is not None:
        value = f" val {units.number(event.validation_loss)}"
    if event.objective is not None:
        value += f" {objective.title} {units.number(event.objective)}"
    duration = f" in {units.duration(event.seconds)}" if event.seconds else ""
    curve = screen.sparkline(event.trial) if screen and is_trial else ""
    configuration = _parameters(event.strategy, event.parameters)
    state = event.state.lower() + value + duration
    return "  ".join(filter(None, [name, configuration, state, curve, event.text]))


def view(status: Status, width: int, screen: Screen | None = None) -> Group:
    """The live view for a terminal of ``width`` columns.

    Below 80 columns, the bar and the medians are left out.
    """
    screen = screen or Screen()
    head_lines = [plan_line(screen.plan)] if screen.plan else []
    head_lines.append(_headline(status, width, screen))
    free_lines = MAX_LINES - 1 - len(head_lines) - (status.outlook is not None)
    rows = [
        _running_cells(job, width, status.objective, screen) for job in status.running[:free_lines]
    ]
    running, tail_lines = Table.grid(padding=(0, 2, 0, 0)), []
    filled_columns = [column for column in zip(*rows, strict=True) if any(column)]
    for row in zip(*filled_columns, strict=True):
        running.add_row(*map(text, row))
    if status.best is not None:
        best, title = status.best, status.objective.title
        default = f", best default {units.number(status.default.value)}" if status.default else ""
        name = "val" if status.objective.is_loss else title
        interval = f"{screen.interval}; " if screen.interval else ""
        tail_lines.append(
            f"best #{best.trial} {_parameters(best.strategy, best.parameters)}  "
            f"{name} {units.number(best.value)} "
            f"({interval}{status.objective.direction_in_words}){default}"
            f"{''.join(f', over the limit on {title}' for title in best.over_limits)}"
        )
    if status.outlook is not None:
        tail_lines.append(str(status.outlook))
    return Group(*map(text, head_lines), *([running] if rows else []), *map(text, tail_lines))


def _headline(status: Status, width: int, screen: Screen) -> str:
    bar = ""
    if width >= 80:
        filled_cells = round(10 * status.done / max(status.trials, 1))
        bar = f" {'#' * filled_cells}{'-' * (10 - filled_cells)}"
    failed = status.failed - status.out_of_memory
    counts = [f"{status.complete} ok", f"{status.pruned} pruned"]
    counts += [f"{status.out_of_memory} OOM"] if status.out_of_memory else []
    counts += [f"{failed} failed"] if failed else []
    eta = _planned_time_left(status, screen)
    if status.eta:
        eta = units.span(status.eta.low, status.eta.high)
    done_text, time_left = f"{status.done}/{status.trials}", f"  ETA {eta}"
    if status.phase == "search":
        return f"sweep {done_text}{bar}  {' '.join(counts)}{time_left}"
    jobs = f" {status.jobs_done}/{status.jobs} jobs" if status.jobs else ""
    time_left = time_left if status.eta or status.phase == "baselines" else ""
    return f"{status.phase}{jobs}  sweep {done_text}  {' '.join(counts)}{time_left}"


def _planned_time_left(status: Status, screen: Screen) -> str:
    """The time left according to the plan, used until trials allow an estimate."""
    if screen.plan is None:
        return "estimating"
    sweep = screen.plan.budget.sweep
    low, high = (max(0.0, end - status.seconds) for end in (sweep.low, sweep.high))
    return f"{units.span(low, high)} by the plan"


def _running_cells(
    running: Event, width: int, objective: Objective, screen: Screen
) -> tuple[str, ...]:
    is_trial = running.trial is not None and not running.job
    name = f"#{running.trial}" if is_trial else running.job
    value = median = ""
    if running.validation_loss is not None:
        value = f"val {units.number(running.validation_loss)}"
        if running.objective is not None:
            value += f" {objective.title} {units.number(running.objective)}"
        if running.median_here is not None and width >= 80:
            median = f"(median here {units.number(running.median_here)})"
    return (
        f"{name} {_parameters(running.strategy, running.parameters)}".rstrip(),
        f"{running.rung or 0}/{running.rungs}" if running.rungs else "",
        screen.sparkline(running.trial) if is_trial else "",
        value,
        median,
        _current_work(running),
    )


def _parameters(strategy: str, parameters: Mapping[str, object]) -> str:
    """The strategy and its most important parameters, such as ``lora r=16 lr=0.0002``."""
    settings = [
        f"{_SHORT_NAMES[key]}={words.value(parameters[key])}"
        for key in _SHORT_NAMES
        if key in parameters
    ]
    return " ".join([strategy, *settings]).strip()
