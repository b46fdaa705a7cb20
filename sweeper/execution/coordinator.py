"""The coordinating command: fills the queues, starts workers, keeps the books, phase by phase.

It never trains, holds no torch, and may be killed at any moment: what it knows it reads back from
the storage and the run folder. Drawing and reports are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from optuna.trial import TrialState

from sweeper.errors import NoTrialCompleted, RunError
from sweeper.execution import seal
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.events import Event, EventKind, now
from sweeper.execution.interruption import Signals
from sweeper.execution.jobqueue import JobQueue
from sweeper.execution.jobs import Job, confirm
from sweeper.execution.ledger import Ledger
from sweeper.execution.pool import Ended, Pool
from sweeper.execution.progress import Progress
from sweeper.execution.settle import recover
from sweeper.execution.slots import top_up, useful_total
from sweeper.execution.status import Phase, Status
from sweeper.execution.watch import Watch
from sweeper.execution.worker import CLOSED
from sweeper.planning.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.search.storage import Storage, default_url, open_storage
from sweeper.search.study import IDENTITY, PHASE, RUN, SPEC, TOTAL, create_study, jobs_name
from sweeper.spec import Spec

DEFAULT_BACKEND = "sweeper.training.backend:make"

# From the first Ctrl-C a run has ten seconds to its last line: workers get half of them to put
# their work back, the report the other half.
STOP_SECONDS = 5.0
_TICK_SECONDS = 0.2
_LOOK_SECONDS = 0.5
_STATUS_SECONDS = 1.0


OutcomeKind = Literal["complete", "interrupted", "timeout", "none-completed"]


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    ``none-completed``: all trials ended and none of them completed. ``signal`` is the one that
    interrupted the run.
    """

    kind: OutcomeKind
    status: Status
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """What the command should exit with."""
        if self.signal is not None:
            return 128 + self.signal
        return NoTrialCompleted.exit_code if self.kind == "none-completed" else 0


class _Stopped(Exception):
    """A signal or the time limit ends the call."""


def run_sweep(
    run: RunFolder,
    spec: Spec,
    plan: Plan,
    *,
    backend: str = DEFAULT_BACKEND,
    on_event: Callable[[Event, Status], None] = lambda _event, _status: None,
    on_trial_end: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run or resume a sweep to its end.

    Args:
        run: The folder; the caller holds its lock and has checked the identity.
        spec: What was asked; ``search.trials`` is the study's total.
        plan: The frozen plan.
        backend: ``module:function`` of the training backend.
        on_event: Called with each event and the status after it.
        on_trial_end: Called after trials have ended, and once more at the end: time to rewrite
            findings and report.

    Raises:
        RunError: The storage cannot be used, or workers cannot work.
        NoTrialCompleted: Workers cannot work, and no trial had completed before.
    """
    if not run.plan.exists():
        plan.write(run.plan)
    url = spec.search.storage or default_url(run.study)
    storage = open_storage(url)
    pool = Pool(run, url, backend, spec.search.workers)
    with Signals() as signals:
        return Coordinator(
            run, spec, plan, storage, pool, signals, on_event, on_trial_end
        ).run_all()


@dataclass
class Coordinator:
    """One call of ``run_sweep``."""

    run: RunFolder
    spec: Spec
    plan: Plan
    storage: Storage
    pool: Pool
    signals: Signals
    on_event: Callable[[Event, Status], None]
    on_trial_end: Callable[[], None]
    watch: Watch = field(default_factory=Watch)
    _looked: float = 0.0
    _wrote: float = 0.0

    def __post_init__(self) -> None:
        name = self.run.path.resolve().name
        self.queue = Queue(self.storage, create_study(self.storage, name))
        jobs = create_study(self.storage, jobs_name(name))
        self.jobs = JobQueue(self.run, Queue(self.storage, jobs))
        self.total = useful_total(self.plan, self.spec.search.trials)
        self.ledger = Ledger(self.run)
        earlier = Status.read(self.run.status) if self.run.status.exists() else None
        self.progress = Progress(
            self.ledger,
            self.total,
            started_at=earlier.started_at if earlier else now(),
            earlier_seconds=earlier.seconds if earlier else 0.0,
            workers=self.pool.size,
        )
        self._deadline = time.monotonic() + (self.spec.search.timeout_seconds or float("inf"))

    def run_all(self) -> Outcome:
        """All phases, one after the other."""
        self._prepare()
        self.say("run-started", text=f"{self.ledger.finished(self.total)} of {self.total} done")
        try:
            self._search()
            if self.ledger.best() is None:
                return self._end("none-completed", "failed")
            self._confirm_and_test()
        except _Stopped:
            self._stop_workers()
            if self.signals.count:
                return self._end("interrupted", "interrupted")
            return self._end("timeout", "timeout")
        except BaseException:
            self.pool.kill()
            self._set_phase("failed")
            self._close()
            raise
        return self._end("complete", "complete")

    # Preparing

    def _prepare(self) -> None:
        self._claim_study()
        study = self.queue.study
        study.set_user_attr(RUN, str(self.run.path.resolve()))
        study.set_user_attr(SPEC, self.spec.to_json())
        study.set_user_attr(TOTAL, self.total)
        self._recover(crashed=False)
        top_up(self.queue, self.plan, self.total)
        study.set_user_attr(PHASE, "open")
        self._look()
        if self.total < self.spec.search.trials:
            self._warn(
                f"{self.total} trials instead of {self.spec.search.trials}: every configuration "
                "of the space will have run by then"
            )
        if self.ledger.finished(len(self.ledger.trials)) > self.total:
            self._warn("the study already has more finished trials than --trials asks for")

    def _claim_study(self) -> None:
        # The storage may be shared: a study of the same name must be this run's.
        identity = self.plan.identity.model_dump() if self.plan.identity else {}
        stored = self.queue.study.user_attrs.get(IDENTITY)
        if stored is None:
            self.queue.study.set_user_attr(IDENTITY, identity)
        elif stored != identity:
            raise RunError(
                f"the storage holds another study named {self.queue.study.study_name!r}",
                why="Its model, data or space differ from this run's.",
                fix="Choose another --name or another --storage.",
            )

    # Phases

    def _search(self) -> None:
        if not any(self.run.baselines.glob("*.json")) or self.jobs.open():
            self.jobs.ensure([Job("baselines", "baselines")])
        self._set_phase("baselines" if self.jobs.open() else "search")
        self._until(lambda: self.ledger.finished(self.total) >= self.total and not self.jobs.open())

    def _confirm_and_test(self) -> None:
        if not self.run.test_seal.exists():
            self._set_phase("confirmation")
            finalists = self.ledger.finalists(self.plan.budget.finalists)
            seeds = seal.seeds_of(self.plan)
            self.jobs.ensure([confirm(number, seed) for number in finalists for seed in seeds])
            self._until(lambda: not self.jobs.open())
            seal.open_seal(self.run, self.plan, finalists)
        opened = seal.open_seal(self.run, self.plan, ())
        if opened.complete:
            return
        self._set_phase("test")
        jobs = seal.scoring_jobs(self.run, self.plan, opened, self.ledger)
        self.jobs.ensure(jobs)
        self._until(lambda: not self.jobs.open())
        seal.close_seal(self.run, opened, jobs)

    def _set_phase(self, phase: Phase) -> None:
        self.progress.phase = phase
        self.say("phase", state=phase)

    # The loop

    def _until(self, reached: Callable[[], bool]) -> None:
        self._look()
        while not reached():
            if self.signals.count or time.monotonic() > self._deadline:
                raise _Stopped
            self.pool.start()
            self._tick()
            if self.pool.broken():
                raise self._broken()

    def _tick(self) -> None:
        for said in self.pool.poll(_TICK_SECONDS):
            if isinstance(said, Ended):
                self._worker_ended(said)
            else:
                self._hear(said)
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()

    def _hear(self, event: Event) -> None:
        self.progress.hear(event)
        if event.kind in ("trial-ended", "job-ended"):
            self._look()
        if event.kind == "job-ended" and event.job == "baselines":
            self.progress.phase = "search"
        self._publish(event)

    def _worker_ended(self, ended: Ended) -> None:
        self._look()
        text = str(ended) if not ended.asked else ""
        self.progress.hear(event := _event("worker-ended", worker=ended.name, text=text))
        self._publish(event)

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._recover(crashed=not self.pool.stopping)
        ended = self.ledger.refresh(self.queue.trials())
        self.jobs.look()
        self.progress.jobs, self.progress.jobs_done = self.jobs.counts()
        if ended:
            self.ledger.drop_other_weights(self.plan.budget.finalists)
            self._write_status(force=True)
            self.on_trial_end()

    def _recover(self, *, crashed: bool) -> None:
        for trial in self.watch.dead(self.queue.trials(TrialState.RUNNING)):
            owner = lease_of(trial).owner
            why = f"its worker was gone ({owner or 'it never signed'})"
            counts = crashed and bool(owner)
            if recover(self.queue, self.run, trial, crashed=counts, why=why):
                self.say("trial-ended", trial=trial.number, text=f"ended, though {why}")
            else:
                self.say("trial-put-back", trial=trial.number, text=why)
        for job, ended in self.jobs.recover(crashed=crashed):
            self.say("job-ended" if ended else "job-put-back", job=job.name, trial=job.trial)

    # Telling

    def say(self, kind: EventKind, **fields: object) -> None:
        """Tell of something that the command itself did."""
        self._publish(_event(kind, **fields))

    def _warn(self, text: str) -> None:
        self.progress.message = text
        self.say("warning", text=text)

    def _publish(self, event: Event) -> None:
        with self.run.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_defaults=True) + "\n")
        self._write_status(force=event.kind != "rung")
        self.on_event(event, self.progress.status())

    def _write_status(self, *, force: bool = False) -> None:
        if force or time.monotonic() - self._wrote > _STATUS_SECONDS:
            self.progress.status().write(self.run.status)
            self._wrote = time.monotonic()

    # Ending

    def _stop_workers(self) -> None:
        self.pool.ask_to_stop()
        limit = time.monotonic() + STOP_SECONDS
        while self.pool.processes and time.monotonic() < limit and self.signals.count < 2:
            self._tick()
        self.pool.kill()
        while self.pool.processes:
            self._tick()
        self._look()

    def _broken(self) -> RunError | NoTrialCompleted:
        kind = RunError if self.ledger.best() else NoTrialCompleted
        return kind(
            "workers end again and again without getting anything done",
            why=self.pool.last_words("0"),
            fix="Mend what the log says, then give the same command again: it resumes.",
            where=str(self.run.path / "worker-0.log"),
        )

    def _end(self, kind: OutcomeKind, phase: Phase) -> Outcome:
        self._close()
        self.progress.phase = phase
        status = self.progress.status(ended=True)
        status.write(self.run.status)
        event = _event("run-ended", state=kind)
        with self.run.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_defaults=True) + "\n")
        self.on_trial_end()
        self.on_event(event, status)
        return Outcome(kind, status, self.signals.number)

    def _close(self) -> None:
        self.queue.study.set_user_attr(PHASE, CLOSED)
        limit = time.monotonic() + STOP_SECONDS
        while self.pool.processes and time.monotonic() < limit:
            self._tick()
        self.pool.kill()
        while self.pool.processes:
            self._tick()


def _event(kind: EventKind, **fields: object) -> Event:
    return Event.model_validate({"kind": kind, "at": now(), **fields})
