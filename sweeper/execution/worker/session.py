"""Runs one worker's jobs with the backend, and reports them.

Any exception of a backend is caught here, and recorded as the end of the attempt. A watchdog
thread ends a worker whose training makes no progress, so that a hang costs one attempt. A process
that cannot even run threads sends no heartbeats (``worker.link``), and is ended by the command.
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

from sweeper.artifact import now
from sweeper.backend import Backend, Decision, Interrupted
from sweeper.errors import SweeperError
from sweeper.execution.disk import no_room
from sweeper.execution.job import Job, JobEnded, ProgressMessage
from sweeper.execution.state import attempts
from sweeper.execution.worker.link import Link
from sweeper.plans import Plan
from sweeper.runfolder import RESULT, SCORE, RunFolder
from sweeper.safe_text import without_secrets
from sweeper.trials import AttemptEndKind, Failure, RungReport, TrialConfig, TrialResult

# Exit status of a worker process that must be replaced, since training raised or hung.
MUST_BE_REPLACED = 70
# No optimizer step, evaluation batch or report for this long is a hang: ten minutes, as
# torch.distributed waits for a collective on GPUs.
HANG_SECONDS = float(os.environ.get("SWEEPER_HANG_SECONDS", "600"))
# Factor on ``HANG_SECONDS`` before the first step, since the model is loaded, data tokenised and
# the frozen model's features computed in that time. torch.distributed's default without GPUs is
# three times as long.
SETUP_FACTOR = 3.0
# Limit of a step as a multiple of the predicted step, and of the slowest step so far.
MAX_SLOWDOWN = 10.0
# Optimizer steps that a rung is assumed to have. With more, a step has more time than necessary.
STEPS_PER_RUNG = 50


class Session:
    """Runs the jobs of one worker.

    Args:
        run: The run's folder, as seen by this machine.
        worker: Name of the worker.
    """

    def __init__(self, run: RunFolder, plan: Plan, link: Link, worker: str) -> None:
        self._run, self._plan, self._link, self._worker = run, plan, link, worker
        self._progress = ProgressCounter()

    def tell(self, what: str, done: int, of: int) -> None:
        """Report the progress of work without rungs; a ``backend.OnProgress``."""
        self._progress.count()
        self._link.say(ProgressMessage(what=what, done=done, of=of))

    def do(self, backend: Backend, job: Job) -> bool:
        """Run one job to its end and report it.

        Returns:
            Whether this process can go on: False after an unexpected exception or a full disk.
        """
        folder = self._run.path / job.folder
        self._progress = ProgressCounter()
        watchdog = Watchdog(
            self._progress,
            self._limits(job),
            lambda why: self._end_hung_process(folder, why),
            "training" if job.kind in ("trial", "confirm") else f"scoring {job.name}",
        )
        try:
            with watchdog:
                ended = self._run_job(backend, job, folder)
        except Interrupted:
            ended = self._interrupted()
        except SweeperError as error:  # due to the user's code or data: a retry would fail too
            what = without_secrets("; ".join(problem.what for problem in error.problems))
            ended = JobEnded(end="refused", detail=what)
        except Exception as error:  # noqa: BLE001 - any error is reported to the command
            print(without_secrets(traceback.format_exc()), file=sys.stderr)
            end: AttemptEndKind = "disk-full" if no_room(error) else "error"
            ended = JobEnded(end=end, detail=_last_line(error))
        self._link.say(ended)
        return ended.end not in ("error", "disk-full")

    def _interrupted(self) -> JobEnded:
        if self._link.stopping():
            return JobEnded(end="interrupted", detail="the worker was told to stop")
        # Not an interruption, which would be retried for ever.
        return JobEnded(end="error", detail="the backend stopped without being told to")

    def _limits(self, job: Job) -> TimeLimits:
        if job.config is not None and job.kind != "test":
            return time_limits_for(self._plan, job.config)
        return time_limits_without_steps(self._plan)

    def _run_job(self, backend: Backend, job: Job, folder: Path) -> JobEnded:
        if job.kind == "baselines":
            for baseline in backend.baselines():
                self._progress.count()
                self._link.say(baseline)
                if self._link.stopping():
                    raise Interrupted
        elif job.kind == "test":
            weights = self._run.path / job.weights if job.weights is not None else None
            score = backend.score_test(job.name, job.config, weights)
            score.write(folder / SCORE)
        else:
            result = self._train(backend, job, folder)
            if result.failure is not None and result.failure.kind == "disk-full":
                return JobEnded(end="disk-full", detail=result.failure.detail)
            result.write(folder / RESULT)
        return JobEnded()

    def _train(self, backend: Backend, job: Job, folder: Path) -> TrialResult:
        assert job.config is not None
        because = ""

        def report(rung: RungReport) -> Decision:
            nonlocal because
            self._progress.count()
            self._link.say(rung)
            answer = self._link.answer(meanwhile=self._progress.count)
            self._progress.count()
            because = answer.because if answer is not None else ""
            return answer.decision if answer is not None else Decision.STOP

        def should_stop() -> bool:
            self._progress.count()
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

    def _end_hung_process(self, folder: Path, why: str) -> None:
        # The training thread may hold any lock, including the pipe's. So the reason is written to
        # a file, which the command reads when it sees that this process is gone.
        with contextlib.suppress(OSError):  # the process must end even if the disk is full
            attempts.note_end(folder, "hang", why, worker=self._worker)
        dump_stacks()
        os._exit(MUST_BE_REPLACED)


def _no_loss(loss: float | None) -> Failure:
    if loss is None:
        return Failure(kind="error", detail="the backend gave no validation loss")
    return Failure(kind="diverged", detail=f"the validation loss is {loss}")


def _last_line(error: Exception) -> str:
    return without_secrets(traceback.format_exception_only(error)[-1].strip())


@dataclass
class ProgressCounter:
    """Counts signs of progress, such as steps and reports."""

    total: int = 0

    def count(self) -> None:
        self.total += 1


@dataclass(frozen=True)
class TimeLimits:
    """Limits on the time without progress, in seconds: until the first step, and between two."""

    setup: float
    step: float


def time_limits_for(plan: Plan, config: TrialConfig) -> TimeLimits:
    """The limits of a trial.

    Before the first step, it is the predicted time of the whole trial, and at least
    ``SETUP_FACTOR * HANG_SECONDS``; between steps, ``MAX_SLOWDOWN`` times the predicted time of a
    step, and at least ``HANG_SECONDS``.
    """
    predicted_high = plan.candidate(config.strategy, config.model).duration.high
    predicted = predicted_high * config.budget.epochs / plan.budget.epochs
    step = MAX_SLOWDOWN * predicted / (config.budget.rungs * STEPS_PER_RUNG)
    return TimeLimits(
        setup=max(SETUP_FACTOR * HANG_SECONDS, predicted), step=max(HANG_SECONDS, step)
    )


def time_limits_without_steps(plan: Plan) -> TimeLimits:
    """The limits for baselines and test scores, some of which have no steps.

    They are ten times the predicted time of all of them, and of the work of sweeper's features
    during the search.
    """
    budget = plan.budget
    in_search = [name for name, cost in budget.features.items() if cost.in_search]
    names = ("baselines", "test", *in_search)
    predicted = sum(budget.phases[name].high for name in names if name in budget.phases)
    limit = max(SETUP_FACTOR * HANG_SECONDS, MAX_SLOWDOWN * predicted)
    return TimeLimits(setup=limit, step=limit)


@dataclass
class Watchdog:
    """A thread that watches for progress during the ``with`` block.

    The time between two checks counts as at most twice their interval, so that a suspended process
    is not taken for a hung one.

    Args:
        on_hang: Called with the reason; must not return to training.
        what: The watched work, as the reason names it.
    """

    progress: ProgressCounter
    limits: TimeLimits
    on_hang: Callable[[str], None]
    what: str = "training"
    clock: Callable[[], float] = time.monotonic
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _total_at_start: int = 0

    def __enter__(self) -> Watchdog:
        # Read here, since the thread may start after the first step.
        self._total_at_start = self.progress.total
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        assert self._thread is not None
        self._thread.join()

    def _watch(self) -> None:
        total_at_start = last_total = self._total_at_start
        idle_seconds, slowest, last_check = 0.0, 0.0, self.clock()
        while True:
            limit = self.limits.setup if last_total == total_at_start else self.limits.step
            limit = max(limit, MAX_SLOWDOWN * slowest)
            interval = min(limit / 10, 5.0)
            if self._ended.wait(interval):
                return
            check = self.clock()
            idle_seconds += min(check - last_check, 2 * interval)
            last_check = check
            if self.progress.total != last_total:
                slowest = max(slowest, idle_seconds) if last_total != total_at_start else 0.0
                last_total, idle_seconds = self.progress.total, 0.0
            elif idle_seconds > limit:
                self.on_hang(self._reason(idle_seconds, setup=last_total == total_at_start))
                return

    def _reason(self, seconds: float, *, setup: bool) -> str:
        failure = "did not begin" if setup else "made no step"
        return f"{self.what} {failure} within {seconds:.0f} s: the worker was ended"


def dump_stacks() -> None:
    """Write the stacks of all threads into the log."""
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
