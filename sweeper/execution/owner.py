"""The main loop of a run: hands out jobs, answers rungs, takes in results, writes the records.

Only this loop asks and tells the search, and writes outside of attempts' folders. It is independent
of the phases: it runs until its caller's condition holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.backend import Decision
from sweeper.errors import NoTrialCompleted, RunError, SpecError
from sweeper.execution import disk
from sweeper.execution.interruption import Signals
from sweeper.execution.job import (
    Close,
    Hello,
    Job,
    JobEnded,
    Message,
    ProgressMessage,
    Ready,
    RungAnswer,
    Stop,
    WorkItem,
)
from sweeper.execution.next_attempt import configure, next_attempt
from sweeper.execution.pools.placement import mismatch
from sweeper.execution.pools.pool import Pool, WorkerGone, WorkerMessage, last_log_lines, log_of
from sweeper.execution.run_progress import STOP_SECONDS, RunProgress
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder, attempts_of
from sweeper.execution.state.reduced_batches import ReducedBatches
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Event, EventKind, Phase, Status, make_event
from sweeper.execution.worker_states import STRIKES_ALLOWED, WorkerStates
from sweeper.runfolder import RESULT
from sweeper.safe_text import without_secrets
from sweeper.search.cost_model.trial_costs import of_baseline
from sweeper.search.search import Search
from sweeper.training.checkpoints import drop_checkpoints
from sweeper.trials import (
    AttemptEndKind,
    BaselineResult,
    Failure,
    RungReport,
    TrialResult,
)

# Longest wait for messages in one pass of the loop.
_TICK_SECONDS = 0.2
# Interval at which status.json is written, by which readers see that the command is alive.
STATUS_SECONDS = 1.0


class Stopped(Exception):
    """A signal or the time limit ends the command."""


@dataclass
class Owner:
    """The main loop of one command.

    Args:
        on_trial_end: Called after trials have ended. Must return at once.
        on_tick: Called several times a second. Must return at once.
        deadline: Time at which the command must stop, on the monotonic clock.
        least_bytes: Free disk space that is required before an attempt begins.
        may_ask: Returns whether another trial may be asked for, below the total.
    """

    state: RunState
    search: Search
    pool: Pool
    progress: RunProgress
    signals: Signals
    on_event: Callable[[Event, Status], None]
    on_trial_end: Callable[[], None]
    on_tick: Callable[[], None] = lambda: None
    deadline: float = float("inf")
    least_bytes: int = disk.RESERVE_BYTES
    may_ask: Callable[[], bool] = lambda: False
    workers: WorkerStates = field(default_factory=WorkerStates)
    _queue: deque[WorkItem] = field(default_factory=deque)
    _messages: deque[WorkerMessage | WorkerGone] = field(default_factory=deque)
    _idle_workers: dict[str, None] = field(default_factory=dict)
    _stopping: bool = False
    _status_written: float = 0.0
    _last_ended_worker: str = "0"

    def __post_init__(self) -> None:
        self.run = self.state.run
        self.plan = self.state.plan
        self.reduced_batches = ReducedBatches(self.run)

    def add(self, items: Iterable[WorkItem], *, first: bool = False) -> None:
        """Queue the items that are not done and have not finally failed.

        Args:
            items: Work items; each is added once per command.
            first: Whether they come before the items that wait.
        """
        for item in items:
            work_items.end_open_attempt(self.run, item)
            ended = (
                work_items.is_done(self.run, item) or work_items.failure(self.run, item) is not None
            )
            if item.kind != "trial":
                self.progress.jobs += 1
                self.progress.jobs_done += ended
            if not ended:
                (self._queue.appendleft if first else self._queue.append)(item)

    @property
    def open_items(self) -> int:
        """Number of work items that wait or run."""
        return len(self._queue) + self.workers.busy

    def work_until(self, reached: Callable[[], bool]) -> None:
        """Keep workers busy until ``reached`` returns true.

        Raises:
            Stopped: A signal arrived, or the time limit passed.
            RunError: Workers cannot see the run, train on another device than the plan's, or end
                again and again without progress.
            NoTrialCompleted: Workers end without progress before any trial completed.
            SpecError: The user's objective cannot measure the baselines.
            NoRoom: The disk is full, or nearly.
        """
        while not reached():
            if self.signals.count or time.monotonic() > self.deadline:
                raise Stopped
            self.pool.start(self.open_items + self.askable)
            self._tick()
            if self.workers.strikes >= STRIKES_ALLOWED:
                raise self._no_progress_error()

    def _tick(self) -> None:
        self.require_folder()
        # Rungs are answered at once, since their workers wait. Other messages are handled one at a
        # time; then work is handed out.
        wait = 0.0 if self._messages or self._can_hand_out else _TICK_SECONDS
        for message in self.pool.poll(wait):
            self._messages.append(message)
            if isinstance(message, WorkerMessage):
                self.workers[message.worker].silent_seconds = 0.0
                if isinstance(message.message, RungReport):
                    self._answer(message.worker, message.message)
        if self._messages:
            message = self._messages.popleft()
            if isinstance(message, WorkerGone):
                self._worker_gone(message)
            else:
                self._handle(message.worker, message.message)
        elif self._can_hand_out:
            self._hand_out()
        for worker in self.workers.too_silent(self.pool.workers):
            self.workers[worker].silenced = True
            self.pool.kill(worker)
        for text in self.pool.notices():
            self.warn(text)
        self.on_tick()
        if time.monotonic() - self._status_written > STATUS_SECONDS:
            self.write_status()
            if not self._stopping and disk.free_bytes(self.run.path) < disk.RESERVE_BYTES:
                raise disk.NoRoom("too little is free")

    # Jobs

    @property
    def askable(self) -> int:
        """Number of trials that the search may still be asked for."""
        remaining = self.progress.total - len(self.state.configs)
        return remaining if remaining > 0 and self.may_ask() else 0

    @property
    def _can_hand_out(self) -> bool:
        return not self._stopping and bool(self._idle_workers) and bool(self._queue or self.askable)

    def _hand_out(self) -> None:
        if disk.free_bytes(self.run.path) < self.least_bytes:
            raise disk.NoRoom("too little is free to keep the weights of one more trial")
        worker = next(iter(self._idle_workers))
        del self._idle_workers[worker]
        self._send_attempt(worker, self._queue.popleft() if self._queue else self._ask())

    def _ask(self) -> WorkItem:
        trial = self.search.ask()
        self.state.configs[trial.number] = configure(self.plan, trial)
        return work_items.trial(trial.number)

    def _send_attempt(self, worker: str, item: WorkItem) -> None:
        """Send the next attempt at an item to a worker, whose ``Session`` runs it."""
        job = next_attempt(self.state, self.reduced_batches, item)
        self.pool.send(worker, job)
        state = self.workers[worker]
        state.job, state.from_scratch, state.had_job = job, False, True
        state.restored_rung = job.rungs[-1].rung if job.rungs else 0
        if job.kind != "trial":
            self._say(worker, "job-started", job)
            return
        assert job.config is not None
        number = job.config.number
        self.search.restart(number, job.rungs)
        self._say(
            worker,
            "trial-started",
            job,
            parameters=job.config.parameters,
            rungs=job.config.budget.rungs,
        )

    # Messages

    def _handle(self, worker: str, message: Message) -> None:
        if isinstance(message, Hello):
            if message.problems:
                raise RunError(message.problems)
        elif isinstance(message, Ready):
            if message.device and (problem := mismatch(self.plan.facts.hardware, message.device)):
                raise RunError([problem])
            self._say(worker, "worker-started")
            self._idle_workers[worker] = None
        elif isinstance(message, RungReport):
            self._record_rung(worker, message)
        elif isinstance(message, BaselineResult):
            self.workers[worker].productive = True
            self._record_baseline(worker, message)
        elif isinstance(message, ProgressMessage):
            self._say(worker, "progress", text=message.what, done=message.done, of=message.of)
        elif isinstance(message, JobEnded):
            self._job_ended(worker, message)

    def _answer(self, worker: str, report: RungReport) -> None:
        """Answer a report before its files are written. Only trials of the search are pruned."""
        state = self.workers[worker]
        if state.job is None:
            return
        decision, because = Decision.CONTINUE, ""
        is_trial = state.job.kind == "trial"
        if report.rung <= state.restored_rung:  # the worker could not use the checkpoint
            state.from_scratch = True
            if is_trial:
                self.search.restart(report.number)
        state.restored_rung = 0
        if is_trial:
            pruning = self.search.report(report.number, report)
            if pruning.prune:
                decision, because = Decision.PRUNE, pruning.because
        self.pool.send(worker, RungAnswer(decision=decision, because=because))

    def _record_rung(self, worker: str, report: RungReport) -> None:
        """Write the files and the event of an answered rung."""
        state = self.workers[worker]
        job = state.job
        if job is None:
            return
        state.productive = True
        if state.from_scratch and job.config is not None:
            state.from_scratch = False
            attempts.begin(self._home(job), job.config)
        attempts.add_rung(self._home(job), report)
        names = {"rung", "optimizer_steps", "validation_loss", "objective"}
        figures = report.model_dump(include=names) | {"seconds": report.seconds}
        if job.config is not None:
            figures["rungs"] = job.config.budget.rungs
        if job.kind == "trial":
            figures["median_here"] = self.search.median(report.number, report.rung)
        self._say(worker, "rung", job, **figures)

    def _record_baseline(self, worker: str, baseline: BaselineResult) -> None:
        self.learn(baseline)
        path = self.run.baselines / f"{baseline.name}.json"
        if BaselineResult.read_or_none(path) is not None:
            return  # scored by an earlier command
        baseline.write(path)
        figures = baseline.model_dump(include={"validation_loss", "objective", "seconds"})
        name, title = baseline.name, baseline.title
        self.say("baseline", worker=worker, job=name, text=title, **figures)

    def learn(self, baseline: BaselineResult) -> None:
        """Tell the search the losses of an untrained baseline."""
        self.search.add_untrained(of_baseline(self.plan, baseline))

    def _job_ended(self, worker: str, ended: JobEnded) -> None:
        state = self.workers[worker]
        job, state.job = state.job, None
        if job is None:
            return
        # After a refusal the worker's process is intact, and can do other jobs.
        if ended.end in (None, "refused"):
            state.productive = True
            self._idle_workers[worker] = None
        if ended.end is not None:
            self._attempt_failed(worker, job, ended.end, ended.detail)
        elif job.kind == "baselines":
            work_items.note_baselines(self.run)
            self.progress.enter("search")
            self._end_job(worker, job)
        else:
            why = "its score cannot be read" if job.kind == "test" else f"{RESULT} is damaged"
            self._accept(worker, job, "damaged", why)

    def _worker_gone(self, gone: WorkerGone) -> None:
        worker = self._last_ended_worker = gone.worker
        self._idle_workers.pop(worker, None)
        state = self.workers[worker]
        # A worker that was ordered to end has no job; exit status 0 during a job is a crash.
        ended_in_order = gone.status == 0 and state.job is None
        excused = self._stopping or gone.lost or ended_in_order
        why = str(gone)
        if state.silenced:
            why = f"its worker sent no message for {self.workers.silence_limit:g} s"
        job, state.job = state.job, None
        if job is not None:
            kind: AttemptEndKind = "interrupted" if excused else "crash"
            if gone.out_of_memory and job.config is not None and not self._stopping:
                kind = "out-of-memory"  # a job without a config has no batches to halve
            self._accept(worker, job, kind, why)
        self.workers.ended(worker, excused=excused, out_of_memory=gone.out_of_memory)
        self._say(worker, "worker-ended", text="" if excused and not gone.lost else why)

    # Results

    def _accept(self, worker: str, job: Job, failure: AttemptEndKind, why: str) -> None:
        """Accept an attempt's result. Without a complete one, the attempt ended by ``failure``."""
        home, result = self._home(job), work_items.accept_result(self.run, job, job.attempt)
        if result is None:
            return self._attempt_failed(worker, job, failure, why)
        if isinstance(result, TrialResult):
            for number in attempts_of(home):
                drop_checkpoints(attempt_folder(home, number))
            if job.kind == "trial":
                return self._trial_ended(worker, job, result)
        return self._end_job(worker, job)

    def _end_job(self, worker: str, job: Job) -> None:
        self.progress.jobs_done += 1
        self._say(worker, "job-ended", job, state="COMPLETE")

    def _trial_ended(self, worker: str, job: Job, result: TrialResult) -> None:
        assert job.config is not None
        number = job.config.number
        self.search.tell(number, result)
        self.state.results[number] = result
        self.state.drop_other_weights()
        self._say(
            worker,
            "trial-ended",
            job,
            parameters=job.config.parameters,
            state=result.state,
            validation_loss=result.validation_loss if result.state == "COMPLETE" else None,
            objective=result.objective,
            rung=result.pruned_at_rung,
            seconds=result.training_seconds + result.evaluation_seconds,
            text=result.failure.detail if result.failure else result.pruned_because,
        )
        self.on_trial_end()

    def _attempt_failed(self, worker: str, job: Job, kind: AttemptEndKind, detail: str) -> None:
        """Record why an attempt has no result, and queue its item again or give it up."""
        folder = self._folder(job)
        end = attempts.note_end(folder, kind, detail, worker=worker, replace=kind == "damaged")
        attempts.drop_leftovers(folder)
        if end.kind != "interrupted":
            drop_checkpoints(folder)
        failure = work_items.failure(self.run, job)
        if failure is None:
            self._queue.appendleft(job)
            event_kind: EventKind = "trial-put-back" if job.kind == "trial" else "job-put-back"
            self._say(worker, event_kind, job, text=end.detail)
        else:
            self._give_up_item(worker, job, failure)
        if end.kind == "disk-full" and not self._stopping:
            raise disk.NoRoom(end.detail)

    def _give_up_item(self, worker: str, job: Job, failure: Failure) -> None:
        if job.trial is not None and job.kind != "test":
            result = attempts.fail(self._home(job), job.trial, job.attempt, failure)
            if job.kind == "trial":
                self._trial_ended(worker, job, result)
                return
        self.progress.jobs_done += 1
        self._say(worker, "job-ended", job, state="FAIL", text=failure.detail)
        self.warn(f"{job.title} failed: {failure.detail}")
        if job.kind == "baselines" and failure.kind == "refused" and self.plan.objective.function:
            why = "It failed on the baselines, and would be called at the end of every trial."
            fix = "Correct the function, then give the same command with --new."
            raise SpecError(failure.detail, why, fix)

    def _home(self, job: Job) -> Path:
        return self.run.path / job.home

    def _folder(self, job: Job) -> Path:
        return self.run.path / job.folder

    # Events and status

    def say(self, kind: EventKind, **fields: object) -> None:
        """Emit an event."""
        self._publish(make_event(kind, **fields))

    def warn(self, text: str) -> None:
        """Emit a warning once, and keep it in the status."""
        text = without_secrets(text)
        if text in self.progress.message.split("\n"):
            return
        self.progress.message = "\n".join(filter(None, [self.progress.message, text]))
        self.say("warning", text=text)

    def set_phase(self, phase: Phase) -> None:
        self.progress.enter(phase)
        self.say("phase", state=phase)
        self.write_status()

    def _say(self, worker: str, kind: EventKind, job: Job | None = None, **fields: object) -> None:
        if job is not None:
            fields |= {"trial": job.trial, "attempt": job.attempt}
            fields |= {"job": "" if job.kind == "trial" else job.name}
            fields |= {"strategy": job.config.strategy} if job.config else {}
        self.say(kind, worker=worker, **fields)

    def _publish(self, event: Event) -> None:
        self.progress.update(event)
        if event.kind != "progress":
            self._append(event)
        self.on_event(event, self.progress.status())

    def _append(self, event: Event) -> None:
        with self.run.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_defaults=True) + "\n")

    def write_status(self) -> None:
        """Write ``status.json``."""
        self.require_folder()
        # Not synced: it is useless after a power cut.
        self.progress.status().write(self.run.status, synced=False)
        self._status_written = time.monotonic()

    def require_folder(self) -> None:
        """End all workers if the run's folder was deleted, so that they do not recreate it.

        Raises:
            RunError: The folder was deleted.
        """
        if self._status_written and not (self.run.status.exists() or self.run.events.exists()):
            self.pool.kill()
            raise RunError(
                "the folder of the run was deleted",
                why="Its trials are lost.",
                fix="Start the run again.",
                where=str(self.run.path),
            )

    # Ending

    def stop_workers(self) -> None:
        """Order workers to end, busy ones at their next step, and wait for them.

        A second signal, or ``STOP_SECONDS``, ends them at once.
        """
        self._stopping = True
        self.pool.start(0)
        for worker in self.pool.workers:
            self.pool.send(worker, Stop() if self.workers[worker].job else Close())
        limit = time.monotonic() + STOP_SECONDS
        while (
            (self.pool.workers or self._messages)
            and time.monotonic() < limit
            and self.signals.count < 2
        ):
            self._tick()
        self.kill_workers()

    def kill_workers(self) -> None:
        """End all workers at once, and read their last messages."""
        self._stopping = True
        self.pool.kill()
        while self.pool.workers or self._messages:
            self._tick()

    def give_up(self) -> None:
        """Write the last status after an error."""
        self.progress.enter("failed")
        self.say("phase", state="failed")
        self.progress.status(ended=True).write(self.run.status)

    def end(self, kind: str) -> Status:
        """Write the last status, call ``on_trial_end``, and emit ``run-ended``."""
        self.progress.enter("failed" if kind == "none-completed" else kind)
        status = self.progress.status(ended=True)
        status.write(self.run.status)
        event = make_event("run-ended", state=kind)
        self._append(event)
        self.on_trial_end()
        self.on_event(event, status)
        return status

    def _no_progress_error(self) -> RunError | NoTrialCompleted:
        error = RunError if self.state.best else NoTrialCompleted
        return error(
            "workers end again and again without getting anything done",
            why=last_log_lines(self.run, self._last_ended_worker),
            fix="Fix what the log reports, then give the same command again: it resumes.",
            where=str(log_of(self.run, self._last_ended_worker)),
        )
