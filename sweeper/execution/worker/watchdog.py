"""Ends a worker whose training makes no progress, so that a hang costs one attempt.

Knows when training last moved, nothing of what it does. A process that cannot even run this
thread shows no heartbeat either, and is ended by the command.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sweeper.plans import Plan
from sweeper.trials import TrialConfig

# No optimizer step, evaluation batch or report for this long is a hang: ten minutes is what
# torch.distributed waits for a collective on GPUs by default.
HANG_SECONDS = float(os.environ.get("SWEEPER_HANG_SECONDS", "600"))
# Before the first step a model is loaded, data tokenised, features computed; torch.distributed's
# default for everything that is not on GPUs, three times as long.
SETUP_FACTOR = 3.0
# A step may take this many times what was predicted, or what the slowest one took so far.
SLOWER = 10.0
# A rung has at least so many optimizer steps.
STEPS_A_RUNG = 50


@dataclass
class Pulse:
    """Counts signs of progress."""

    beats: int = 0

    def beat(self) -> None:
        """Something went on."""
        self.beats += 1


@dataclass(frozen=True)
class Patience:
    """Limits without progress, in seconds: before the first step, and between two steps."""

    setup: float
    step: float


def patience_for(plan: Plan, config: TrialConfig) -> Patience:
    """Ten times the plan's prediction for this trial, and no less than the minimum."""
    whole = plan.candidate(config.strategy, config.model).duration.high
    predicted = whole * config.budget.epochs / plan.budget.epochs
    step = SLOWER * predicted / (config.budget.rungs * STEPS_A_RUNG)
    return Patience(setup=max(SETUP_FACTOR * HANG_SECONDS, predicted), step=max(HANG_SECONDS, step))


def patience_for_jobs(plan: Plan) -> Patience:
    """The limits for baselines and test scores, some of whose work has no steps.

    No such work takes longer than what the plan predicts for all of them, and loading a model.
    """
    jobs = (plan.budget.beside, plan.budget.test, plan.budget.own_text)
    predicted = sum(phase.high for phase in jobs if phase is not None)
    limit = max(SETUP_FACTOR * HANG_SECONDS, SLOWER * predicted)
    return Patience(setup=limit, step=limit)


@dataclass
class Watchdog:
    """Watches a pulse from a thread during the ``with`` block.

    Time is counted in ticks of which none counts for more than two: a process that was stopped
    and goes on is not taken for one that hangs.

    Args:
        pulse: Beats with each step.
        patience: How long it may stand still.
        on_hang: Called with the reason; must not return to training.
        what: Is watched.
    """

    pulse: Pulse
    patience: Patience
    on_hang: Callable[[str], None]
    what: str = "training"
    clock: Callable[[], float] = time.monotonic
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _first: int = 0

    def __enter__(self) -> Watchdog:
        self._first = self.pulse.beats  # before anything that is watched can beat
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        assert self._thread is not None
        self._thread.join()

    def _watch(self) -> None:
        first = seen = self._first
        still, slowest, looked = 0.0, 0.0, self.clock()
        while True:
            limit = self.patience.setup if seen == first else self.patience.step
            limit = max(limit, SLOWER * slowest)
            tick = min(limit / 10, 5.0)
            if self._ended.wait(tick):
                return
            now = self.clock()
            still += min(now - looked, 2 * tick)
            looked = now
            if self.pulse.beats != seen:
                slowest = max(slowest, still) if seen != first else 0.0
                seen, still = self.pulse.beats, 0.0
            elif still > limit:
                self.on_hang(self._reason(still, setup=seen == first))
                return

    def _reason(self, seconds: float, *, setup: bool) -> str:
        did = "did not begin" if setup else "made no step"
        return f"{self.what} {did} within {seconds:.0f} s: the worker was ended"


def show_where() -> None:
    """Write the stack of each thread into the log."""
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
