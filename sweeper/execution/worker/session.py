"""Runs one worker's jobs with the backend, and reports them.

The only place that catches broadly: whatever a backend raises becomes a recorded end. A watchdog
ends a worker whose training makes no progress, so that a hang costs one attempt; a process that
cannot even run that thread shows no heartbeat, and is ended by the command.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.backend import Backend, Decision, Interrupted
from sweeper.errors import SweeperError
from sweeper.execution.disk import no_room
from sweeper.execution.job import BaselineSaid, Job, JobEnded, ProgressSaid, RungSaid
from sweeper.execution.state import attempts
from sweeper.execution.state.events import now
from sweeper.execution.worker.link import Link
from sweeper.plans import Plan
from sweeper.redaction import without_secrets
from sweeper.runfolder import RESULT, SCORE, RunFolder
from sweeper.trials import AttemptEndKind, Failure, RungReport, TrialConfig, TrialResult

# How a worker process ends after training raised or hung: a fresh one must go on.
UNSOUND = 70
# Progress is told at most so often.
_PROGRESS_SECONDS = 0.5
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


class Session:
    """A loaded backend and the command that gives it jobs.

    Args:
        run: The run's folder, as this machine sees it.
    """

    def __init__(self, run: RunFolder, plan: Plan, link: Link, worker: str) -> None:
        self._run, self._plan, self._link, self._worker = run, plan, link, worker
        self._pulse = Pulse()
        self._told = 0.0

    def tell(self, what: str, done: int, of: int) -> None:
        """Report the progress of work without rungs; see ``backend.Tell``."""
        self._pulse.beat()
        clock = time.monotonic()
        if done >= of or clock - self._told > _PROGRESS_SECONDS:
            self._told = clock
            self._link.say(ProgressSaid(what=what, done=done, of=of))

    def do(self, backend: Backend, job: Job) -> bool:
        """Run one job to its end and report it.

        Returns:
            Whether this process may go on: not after an exception.
        """
        folder = self._run.path / job.folder
        self._pulse = Pulse()
        watchdog = Watchdog(
            self._pulse,
            self._patience(job),
            lambda why: self._hangs(folder, why),
            "training" if job.kind in ("trial", "confirm") else f"scoring {job.name}",
        )
        try:
            with watchdog:
                ended = self._do(backend, job, folder)
        except Interrupted:
            ended = self._interrupted(job)
        except SweeperError as error:  # the user's own code or data: the next try would be the same
            what = without_secrets("; ".join(problem.what for problem in error.problems))
            ended = _broke_off(job, "refused", what)
        except Exception as error:  # noqa: BLE001 - whatever it was, the command is told
            print(without_secrets(traceback.format_exc()), file=sys.stderr)
            ended = _broke_off(job, "disk-full" if no_room(error) else "error", _last_line(error))
        self._link.say(ended)
        return ended.end not in ("error", "disk-full")

    def _interrupted(self, job: Job) -> JobEnded:
        if self._link.stopping():
            return _broke_off(job, "interrupted", "the worker was told to stop")
        # As an interruption it would be tried again for ever.
        return _broke_off(job, "error", "the backend stopped without being told to")

    def _patience(self, job: Job) -> Patience:
        if job.config is not None and job.kind != "test":
            return patience_for(self._plan, job.config)
        return patience_for_jobs(self._plan)

    def _do(self, backend: Backend, job: Job, folder: Path) -> JobEnded:
        if job.kind == "baselines":
            for baseline in backend.baselines():
                self._pulse.beat()
                self._link.say(BaselineSaid(result=baseline))
                if self._link.stopping():
                    raise Interrupted
        elif job.kind == "test":
            weights = self._run.path / job.weights if job.weights is not None else None
            score = backend.score_test(job.name, job.config, weights)
            score.write(folder / SCORE)
        else:
            result = self._train(backend, job, folder)
            if result.failure is not None and result.failure.kind == "disk-full":
                return _broke_off(job, "disk-full", result.failure.detail)
            result.write(folder / RESULT)
        return JobEnded(name=job.name, done=True)

    def _train(self, backend: Backend, job: Job, folder: Path) -> TrialResult:
        assert job.config is not None
        because = ""

        def report(rung: RungReport) -> Decision:
            nonlocal because
            self._pulse.beat()
            self._link.say(RungSaid(report=rung))
            answer = self._link.answer(self._pulse.beat)
            self._pulse.beat()
            because = answer.because if answer is not None else ""
            return answer.decision if answer is not None else Decision.STOP

        def should_stop() -> bool:
            self._pulse.beat()
            return self._link.stopping()

        started = now()
        checkpoint = self._run.path / job.checkpoint if job.checkpoint is not None else None
        result = backend.train(job.config, folder, report, should_stop, checkpoint)
        pruned = because if result.state == "PRUNED" else ""
        fields: dict[str, object] = {
            "worker": self._worker,
            "started_at": result.started_at or started,
            "ended_at": result.ended_at or now(),
            "pruned_because": result.pruned_because or pruned,
        }
        loss = result.validation_loss
        if result.state == "COMPLETE" and (loss is None or not math.isfinite(loss)):
            fields |= {"state": "FAIL", "validation_loss": None, "failure": _no_loss(loss)}
        return result.model_copy(update=fields)

    def _hangs(self, folder: Path, why: str) -> None:
        # The thread that trains may hold any lock, that of the pipe among them. The command sees
        # that this process is gone, and finds the reason here.
        with contextlib.suppress(OSError):  # whatever the disk is like, this process must end
            attempts.note_end(folder, "hang", why, worker=self._worker)
        show_where()
        os._exit(UNSOUND)


def _broke_off(job: Job, end: AttemptEndKind, detail: str) -> JobEnded:
    return JobEnded(name=job.name, done=False, end=end, detail=detail)


def _no_loss(loss: float | None) -> Failure:
    if loss is None:
        return Failure(kind="error", detail="the backend gave no validation loss")
    return Failure(kind="diverged", detail=f"the validation loss is {loss}")


def _last_line(error: Exception) -> str:
    return without_secrets(traceback.format_exception_only(error)[-1].strip())


@dataclass
class Pulse:
    """Counts signs of progress."""

    beats: int = 0

    def beat(self) -> None:
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
    budget = plan.budget
    further = [name for name, cost in budget.features.items() if cost.in_search]
    names = ("baselines", "test", *further)
    predicted = sum(budget.phases[name].high for name in names if name in budget.phases)
    limit = max(SETUP_FACTOR * HANG_SECONDS, SLOWER * predicted)
    return Patience(setup=limit, step=limit)


@dataclass
class Watchdog:
    """Watches a pulse from a thread during the ``with`` block.

    Time is counted in ticks of which none counts for more than two: a process that was stopped
    and goes on is not taken for one that hangs.

    Args:
        on_hang: Called with the reason; must not return to training.
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
