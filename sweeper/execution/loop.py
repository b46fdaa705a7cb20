"""The coordinating command's loop: hears workers, recovers what they left, keeps the books.

Knows nothing about phases: it runs until whoever called is content.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from sweeper.errors import NoTrialCompleted, RunError
from sweeper.execution import disk, owner
from sweeper.execution.bench import NO_ROOM, STORAGE_GONE
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.endings import Gone, read_end
from sweeper.execution.events import Event, EventKind, now
from sweeper.execution.interruption import Signals
from sweeper.execution.jobqueue import JobQueue
from sweeper.execution.launch import Workers
from sweeper.execution.ledger import Ledger
from sweeper.execution.pool import Ended
from sweeper.execution.progress import Progress
from sweeper.execution.settle import recover
from sweeper.execution.status import Phase, Status
from sweeper.execution.watch import LEASE_SECONDS, Watch
from sweeper.runfolder import RunFolder

# From the first Ctrl-C a run has ten seconds to its last line: workers get half of them to put
# their work back, the report the other half.
STOP_SECONDS = 5.0
_TICK_SECONDS = 0.2
_LOOK_SECONDS = 0.5
_STATUS_SECONDS = 1.0


class Stopped(Exception):
    """A signal or the time limit ends the call."""


@dataclass
class Loop:
    """What one call of the command watches over.

    Args:
        finalists: How many trials keep their weights for a confirmation.
        deadline: When the call must stop, on the monotonic clock.
    """

    run: RunFolder
    queue: Queue
    jobs: JobQueue
    pool: Workers
    ledger: Ledger
    progress: Progress
    signals: Signals
    on_event: Callable[[Event, Status], None]
    on_trial_end: Callable[[], None]
    finalists: int
    deadline: float = float("inf")
    watch: Watch = field(default_factory=Watch)
    _ends: dict[str, Gone] = field(default_factory=dict)
    _read: list[FrozenTrial] = field(default_factory=list)
    _looked: float = 0.0
    _wrote: float = 0.0

    def __post_init__(self) -> None:
        for watch in (self.watch, self.jobs.watch):
            watch.children = lambda: {worker.owner for worker in self.pool.processes}

    def until(self, reached: Callable[[], bool]) -> None:
        """Keep workers at work until ``reached`` says so.

        Raises:
            Stopped: A signal came, or the time is over.
            RunError: Workers end again and again without getting anything done.
            NoTrialCompleted: The same, before any trial completed.
            NoRoom: The disk is full, or nearly.
        """
        self.look()
        while not reached():
            if self.signals.count or time.monotonic() > self.deadline:
                raise Stopped
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
            self.look()

    def _hear(self, event: Event) -> None:
        self.progress.hear(event)
        if event.kind in ("trial-ended", "job-ended"):
            self.look()
        if event.kind == "job-ended" and event.job == "baselines":
            self.progress.phase = "search"
        self._publish(event)
        self._complain(event)

    def _complain(self, event: Event) -> None:
        """What the report will lack."""
        if event.kind == "job-ended" and event.state == "FAIL":
            self.warn(f"{event.job} failed: {event.text}")

    def _worker_ended(self, ended: Ended) -> None:
        no_fault = ended.status in (NO_ROOM, STORAGE_GONE)
        self._ends.setdefault(ended.owner, Gone(str(ended), ended.out_of_memory))
        for watch in (self.watch, self.jobs.watch):
            watch.end(ended.owner)
        self.look(crashed=not (no_fault or self.pool.stopping))
        text = "" if ended.asked else str(ended)
        event = make_event("worker-ended", worker=ended.name, text=text)
        self.progress.hear(event)
        self._publish(event)
        if ended.status == NO_ROOM and not self.pool.stopping:
            raise disk.NoRoom(str(ended))

    def look(self, *, crashed: bool | None = None) -> None:
        """Read both queues, recover what lost its worker, take in what has ended.

        Args:
            crashed: Whether a worker that is gone has crashed; None unless it was told to stop.

        Raises:
            NoRoom: Too little of the disk is free to go on writing.
        """
        self._looked = time.monotonic()
        self.recover(crashed=not self.pool.stopping if crashed is None else crashed)
        ended = self.ledger.refresh(self._read, self.warn)
        self.progress.jobs, self.progress.jobs_done = self.jobs.counts()
        if ended:
            self.ledger.drop_other_weights(self.finalists)
            self._write_status(force=True)
            self.on_trial_end()
        if not self.pool.stopping and disk.free_bytes(self.run.path) < disk.RESERVE_BYTES:
            raise disk.NoRoom("too little is free")

    def recover(self, *, crashed: bool) -> None:
        """Put back or end what lost its worker; ``crashed`` says whether that counts."""
        self._read = self.queue.trials()
        gone = self.watch.dead(self._read)
        for trial in gone:
            self._recover(trial, crashed)
        for silent in {*self.watch.silent(), *self.jobs.watch.silent()}:
            self._ends[silent] = Gone(f"its worker gave no sign of life for {LEASE_SECONDS:g} s")
            owner.end(silent)
        if gone:
            self._read = self.queue.trials()
        for one in self.jobs.recover(crashed=crashed, ends=self._ends):
            kind: EventKind = "job-ended" if one.state else "job-put-back"
            job = one.job
            event = make_event(kind, job=job.name, trial=job.trial, state=one.state, text=one.why)
            self._publish(event)
            self._complain(event)

    def _recover(self, trial: FrozenTrial, crashed: bool) -> None:
        lease = lease_of(trial)
        gone = self._ends.get(lease.owner) or Gone(_gone(lease.owner, crashed))
        why, counts = gone.why, crashed and bool(lease.owner)
        starved = gone.starved and counts
        if recover(self.queue, self.run, trial, crashed=counts, why=why, starved=starved):
            self.say("trial-ended", trial=trial.number, text=f"ended, though {why}")
        else:
            end = read_end(self.run.attempt(trial.number, lease.attempt))
            text = end.detail if end is not None else why
            self.say("trial-put-back", trial=trial.number, attempt=lease.attempt, text=text)

    def say(self, kind: EventKind, **fields: object) -> None:
        """Tell of something that the command itself did."""
        self._publish(make_event(kind, **fields))

    def warn(self, text: str) -> None:
        """Tell of something that the user should know, and leave it in the status."""
        self.progress.message = "\n".join(filter(None, [self.progress.message, text]))
        self.say("warning", text=text)

    def set_phase(self, phase: Phase) -> None:
        """Go on to the next phase."""
        self.progress.phase = phase
        self.say("phase", state=phase)

    def _publish(self, event: Event) -> None:
        self._append(event)
        self._write_status(force=event.kind != "rung")
        self.on_event(event, self.progress.status())

    def _append(self, event: Event) -> None:
        with self.run.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_defaults=True) + "\n")

    def _write_status(self, *, force: bool = False) -> None:
        if force or time.monotonic() - self._wrote > _STATUS_SECONDS:
            self.progress.status().write(self.run.status)
            self._wrote = time.monotonic()

    def stop_workers(self) -> None:
        """Let workers put their work back; a second signal, or their time, ends them at once."""
        self.pool.ask_to_stop()
        self._await_workers(lambda: self.signals.count < 2)
        self.look()

    def dismiss_workers(self) -> None:
        """Wait for workers that have seen that the study is closed."""
        self._await_workers(lambda: True)

    def _await_workers(self, patient: Callable[[], bool]) -> None:
        limit = time.monotonic() + STOP_SECONDS
        while self.pool.processes and time.monotonic() < limit and patient():
            self._tick()
        self.pool.kill()
        while self.pool.processes:
            self._tick()

    def end(self, kind: str, phase: Phase) -> Status:
        """Write the last status, have the report written, tell of the end."""
        self.progress.phase = phase
        status = self.progress.status(ended=True)
        status.write(self.run.status)
        event = make_event("run-ended", state=kind)
        self._append(event)
        self.on_trial_end()
        self.on_event(event, status)
        return status

    def _broken(self) -> RunError | NoTrialCompleted:
        kind = RunError if self.ledger.best() else NoTrialCompleted
        return kind(
            "workers end again and again without getting anything done",
            why=self.pool.last_words("0"),
            fix="Mend what the log says, then give the same command again: it resumes.",
            where=str(self.run.path / "worker-0.log"),
        )


def _gone(holder: str, crashed: bool) -> str:
    if not holder:
        return "it was claimed but never signed"
    return "its worker was gone" if crashed else "the run was stopped, or its command killed"


def make_event(kind: EventKind, **fields: object) -> Event:
    """An event that happens now."""
    return Event.model_validate({"kind": kind, "at": now(), **fields})
