"""Progress of a sweep: redrawn on a terminal, plain lines elsewhere, or JSON events.

All of it goes to stderr.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text

from sweeper import units
from sweeper.execution.state.events import Event, now
from sweeper.execution.state.status import Best, Running, Status
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.objective import LOSS, Objective
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.views.console import LogFormat, ProgressMode, draws, err, is_live
from sweeper.views.notebook import pre
from sweeper.views.work_progress import Hidden, sentence
from sweeper.visible import visible

HEARTBEAT_SECONDS = 60.0
LINES = 12
# Every update is a message to the browser, which may be far away.
_NOTEBOOK_SECONDS = 0.5

# Events that no line is printed for.
UNTOLD = ("rung", "progress", "trial-started", "job-started", "worker-started", "worker-ended")
_LEVELS = "▁▂▃▄▅▆▇█"

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
    mode: ProgressMode = "auto",
    log_format: LogFormat = "text",
    *,
    quiet: bool = False,
    plan: Plan | None = None,
    run: RunFolder | None = None,
) -> ProgressView:
    """The view that fits the stream.

    Args:
        plan: The run's plan, whose line and total are shown from the beginning.
        run: Its folder, whose findings have the interval of the best trial.
    """
    if log_format == "jsonl":
        return JsonProgress()
    if quiet or mode == "none":
        return Hidden()
    if mode == "auto" and err().is_jupyter:
        return NotebookProgress(Screen(plan, run))
    return LiveProgress(Screen(plan, run)) if is_live(mode) else PlainProgress(plan)


class JsonProgress:
    """Every event as one line of JSON, for machines."""

    def __call__(self, event: Event, status: Status) -> None:
        print(event.model_dump_json(exclude_defaults=True), file=sys.stderr, flush=True)

    def close(self) -> None:
        return


class PlainProgress:
    """One line a trial or phase and a heartbeat; no carriage return, no escape sequence."""

    def __init__(
        self, plan: Plan | None = None, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        if plan is not None:
            print(visible(f"{now()} {plan_line(plan)}"), file=sys.stderr, flush=True)
        self._seconds = heartbeat_seconds
        self._status: Status | None = None
        self._changed, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def __call__(self, event: Event, status: Status) -> None:
        self._status = status
        if event.kind not in UNTOLD:
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


@dataclass
class Screen:
    """What the live views show besides the status: plan, curves so far, interval of the best.

    Args:
        curves: Losses at the rungs of trials, by trial.
        interval: Of the best trial, over validation items.
    """

    plan: Plan | None = None
    run: RunFolder | None = None
    curves: dict[int, list[float]] = field(default_factory=dict)
    interval: str = ""

    def hear(self, event: Event, status: Status) -> None:
        """Take an event into account."""
        value = event.validation_loss if event.objective is None else event.objective
        if event.kind == "rung" and event.trial is not None and not event.job and value is not None:
            self.curves.setdefault(event.trial, []).append(value)
        if event.kind == "trial-started" and event.trial is not None:
            self.curves.pop(event.trial, None)  # another attempt begins anew
        if event.kind == "trial-ended" and status.best is not None and self.run is not None:
            self.interval = _interval(self.run, status.best)

    def sparkline(self, trial: int | None) -> str:
        """A trial's curve, one sign a rung, on the scale of all curves; empty without one."""
        own = self.curves.get(-1 if trial is None else trial, [])
        values = [value for curve in self.curves.values() for value in curve if isfinite(value)]
        # While rich draws, sys.stderr is a proxy without an encoding.
        if not own or not values or not draws(getattr(sys.__stderr__, "encoding", None)):
            return ""
        low, span = min(values), max(values) - min(values) or 1.0
        top = len(_LEVELS) - 1
        return "".join(
            _LEVELS[round(top * (value - low) / span)] if isfinite(value) else "×" for value in own
        )


def plan_line(plan: Plan) -> str:
    """What the run is going to do, and how long that takes."""
    strategies = units.joined(list(dict.fromkeys(c.strategy for c in plan.candidates)))
    sweep = plan.budget.sweep
    return (
        f"plan  {units.plural(plan.budget.trials, 'trial')} of {strategies}, about "
        f"{units.duration(sweep.seconds)} ({units.span(sweep.low, sweep.high)})"
    )


def _interval(run: RunFolder, best: Best) -> str:
    """The ends of the best trial's interval, if the last findings have it."""
    findings = Findings.read_or_none(run.findings)
    for strategy in findings.strategies if findings else ():
        if strategy.best_trial == best.trial and findings:
            return words.interval_text(strategy.best_interval, findings.objective)
    return ""


class LiveProgress:
    """At most twelve lines, redrawn at most four times a second; ended trials scroll away."""

    def __init__(self, screen: Screen) -> None:
        self._console, self._screen = err(), screen
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, auto_refresh=False
        )
        self._live.start()
        self._drawn = 0.0

    def __call__(self, event: Event, status: Status) -> None:
        self._screen.hear(event, status)
        if event.kind not in UNTOLD:
            line = ended_line(event, status.objective, self._screen)
            self._console.print(Text(line), no_wrap=True, overflow="ellipsis")
        if time.monotonic() - self._drawn >= 0.25:
            self._drawn = time.monotonic()
            lines = view(status, self._console.width, self._screen)
            self._live.update(Group(*map(Text, lines)), refresh=True)

    def close(self) -> None:
        self._live.stop()


class NotebookProgress:
    """The same lines in a notebook's cell, below those of the trials that ended last.

    IPython redraws them: rich would need ipywidgets, which not every notebook has.
    """

    def __init__(self, screen: Screen) -> None:
        self._display, self._screen = importlib.import_module("IPython.display"), screen
        self._handle = self._display.display(self._display.HTML(""), display_id=True)
        self._ended: deque[str] = deque(maxlen=LINES)
        self._drawn = 0.0
        self._status: Status | None = None

    def __call__(self, event: Event, status: Status) -> None:
        self._screen.hear(event, status)
        if event.kind not in UNTOLD:
            self._ended.append(ended_line(event, status.objective, self._screen))
        self._status = status
        if time.monotonic() - self._drawn >= _NOTEBOOK_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        now = [] if self._status is None else view(self._status, 100, self._screen)
        self._handle.update(self._display.HTML(pre([*self._ended, *now])))

    def close(self) -> None:
        self._draw()


def ended_line(event: Event, objective: Objective = LOSS, screen: Screen | None = None) -> str:
    """The line that stays on the screen after a trial or job has ended."""
    own = event.trial is not None and not event.job
    name = f"#{event.trial}" if own else event.job or event.kind
    value = (
        f" val {units.number(event.validation_loss)}" if event.validation_loss is not None else ""
    )
    if event.objective is not None:
        value += f" {objective.title} {units.number(event.objective)}"
    took = f" in {units.duration(event.seconds)}" if event.seconds else ""
    curve = screen.sparkline(event.trial) if screen and own else ""
    what = _parameters(event.strategy, event.parameters)
    return "  ".join(
        filter(None, [name, what, event.state.lower() + value + took, curve, event.text])
    )


def view(status: Status, width: int, screen: Screen | None = None) -> list[str]:
    """The lines of the live view, for a terminal of that width.

    Under 80 columns the bar goes, then the median; a number is never cut.
    """
    screen = screen or Screen()
    lines = [plan_line(screen.plan)] if screen.plan else []
    lines.append(_headline(status, width, screen))
    room = LINES - 1 - len(lines) - (status.outlook is not None)
    shown = [_running_cells(job, width, status.objective, screen) for job in status.running[:room]]
    lines += _aligned(shown)
    if status.best is not None:
        best, title = status.best, status.objective.title
        default = f", best default {units.number(status.default.value)}" if status.default else ""
        name = "val" if status.objective.is_loss else title
        interval = f"{screen.interval}; " if screen.interval else ""
        lines.append(
            f"best #{best.trial} {_parameters(best.strategy, best.parameters)}  "
            f"{name} {units.number(best.value)} ({interval}{status.objective.direction}){default}"
            f"{''.join(f', over the limit on {title}' for title in best.over_limits)}"
        )
    if status.outlook is not None:
        lines.append(str(status.outlook))
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's rows, its columns below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = (zip(row, widths, strict=True) for row in rows)
    return ["  ".join(f"{cell:{w}}" for cell, w in row if w).rstrip() for row in texts]


def _headline(status: Status, width: int, screen: Screen) -> str:
    bar = ""
    if width >= 80:
        full = round(10 * status.done / max(status.trials, 1))
        bar = f" {'#' * full}{'-' * (10 - full)}"
    failed = status.failed - status.out_of_memory
    counts = [f"{status.complete} ok", f"{status.pruned} pruned"]
    counts += [f"{status.out_of_memory} OOM"] if status.out_of_memory else []
    counts += [f"{failed} failed"] if failed else []
    eta = units.span(status.eta.low, status.eta.high) if status.eta else _planned(status, screen)
    done, left = f"{status.done}/{status.trials}", f"  ETA {eta}"
    if status.phase == "search":
        return f"sweep {done}{bar}  {' '.join(counts)}{left}"
    jobs = f" {status.jobs_done}/{status.jobs} jobs" if status.jobs else ""
    left = left if status.eta or status.phase == "baselines" else ""
    return f"{status.phase}{jobs}  sweep {done}  {' '.join(counts)}{left}"


def _planned(status: Status, screen: Screen) -> str:
    """The time left by the plan, before trials tell it."""
    if screen.plan is None:
        return "estimating"
    sweep = screen.plan.budget.sweep
    low, high = (max(0.0, end - status.seconds) for end in (sweep.low, sweep.high))
    return f"{units.span(low, high)} by the plan"


def _running_cells(
    running: Running, width: int, objective: Objective, screen: Screen
) -> tuple[str, ...]:
    own = running.trial is not None and not running.job
    name = f"#{running.trial}" if own else running.job
    value = here = ""
    if running.validation_loss is not None:
        value = f"val {units.number(running.validation_loss)}"
        if running.objective is not None:
            value += f" {objective.title} {units.number(running.objective)}"
        if running.median_here is not None and width >= 80:
            here = f"(median here {units.number(running.median_here)})"
    return (
        f"{name} {_parameters(running.strategy, running.parameters)}".rstrip(),
        f"{running.rung}/{running.rungs}" if running.rungs else "",
        screen.sparkline(running.trial) if own else "",
        value,
        here,
        _doing(running),
    )


def _parameters(strategy: str, parameters: Mapping[str, object]) -> str:
    shown = [f"{_SHORT[key]}={words.value(parameters[key])}" for key in _SHORT if key in parameters]
    return " ".join([strategy, *shown]).strip()
