"""The coordinator's side of the job queue: each job once, recovered when its worker is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution import lessons, records, repair
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.endings import Gone, kind_of, note_end
from sweeper.execution.jobs import ERROR, Job, attempt_folder, score_file
from sweeper.execution.repair import readable
from sweeper.execution.settle import CRASHES_ALLOWED
from sweeper.execution.watch import Watch
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialConfig, TrialResult


@dataclass(frozen=True)
class Recovered:
    """What became of a job whose worker is gone. ``state`` is empty where it waits again."""

    job: Job
    state: Literal["", "COMPLETE", "FAIL"] = ""
    why: str = ""


@dataclass
class JobQueue:
    """Jobs of one run."""

    run: RunFolder
    queue: Queue
    watch: Watch = field(default_factory=Watch)
    trials: list[FrozenTrial] = field(default_factory=list)

    def look(self) -> None:
        """Read the queue as it is now."""
        self.trials = self.queue.trials()

    def ensure(self, jobs: Iterable[Job]) -> None:
        """Queue those jobs that were not queued before, or whose files are damaged or gone."""
        self.look()
        last = {Job.of(trial).name: trial for trial in self.trials}
        for job in jobs:
            known = last.get(job.name)
            done = known is not None and known.state == TrialState.COMPLETE
            if known is None or (done and not self.is_kept(job)):
                self.queue.add({}, job.attributes())
        self.look()

    def is_kept(self, job: Job) -> bool:
        """Whether what a job is done for lies there and can be read."""
        if job.kind == "test":
            return records.read_score(score_file(self.run, job)) is not None
        if job.trial is None or job.seed is None:
            return bool(repair.baselines(self.run)) and not repair.damaged_baselines(self.run)
        return repair.confirmed(self.run.seed(job.trial, job.seed)) is not None

    def open(self) -> int:
        """How many jobs have not ended."""
        return sum(1 for trial in self.trials if not trial.state.is_finished())

    def counts(self) -> tuple[int, int]:
        """All jobs, and those that have ended."""
        return len(self.trials), len(self.trials) - self.open()

    def recover(self, *, crashed: bool, ends: Mapping[str, Gone] | None = None) -> list[Recovered]:
        """End or put back the jobs whose worker is gone.

        Args:
            crashed: Whether a worker that is gone has crashed or was stopped.
            ends: How workers ended, by their names in leases.
        """
        self.look()
        # One that has ended its job and itself since the queue was read lost nothing.
        dead = [one for one in self.watch.dead(self.trials) if self.queue.is_as_seen(one)]
        known = ends or {}
        recovered = [
            self._recover(trial, crashed, known.get(lease_of(trial).owner)) for trial in dead
        ]
        if dead:
            self.look()
        return recovered

    def _recover(self, trial: FrozenTrial, crashed: bool, gone: Gone | None) -> Recovered:
        job, lease = Job.of(trial), lease_of(trial)
        if self._done(job, lease.attempt):
            self.queue.finish(trial._trial_id, TrialState.COMPLETE, 0.0)
            return Recovered(job, "COMPLETE")
        folder = attempt_folder(self.run, job, lease.attempt)
        why = self._note(trial, crashed, gone) if lease.owner else ""
        records.drop_leftovers(folder)
        config = readable(TrialConfig, folder / records.CONFIG)
        if gone is not None and gone.starved and config is not None:
            return self._starved(trial, config, why)
        counts = crashed and bool(lease.owner)
        if counts and lease.crashes + 1 >= CRASHES_ALLOWED:
            return self._fail(trial, f"its workers were gone {CRASHES_ALLOWED} times: {why}")
        self.queue.take_back(trial, crashed=counts)
        return Recovered(job, why=why)

    def _note(self, trial: FrozenTrial, crashed: bool, gone: Gone | None) -> str:
        """Why the attempt ended, as its worker or the command saw it."""
        lease, starved = lease_of(trial), gone is not None and gone.starved
        folder = attempt_folder(self.run, Job.of(trial), lease.attempt)
        unseen = "its worker was gone" if crashed else "the run was stopped, or its command killed"
        why = gone.why if gone is not None else unseen
        return note_end(folder, kind_of(crashed, starved), why, worker=lease.owner).detail

    def _starved(self, trial: FrozenTrial, config: TrialConfig, why: str) -> Recovered:
        learned = lessons.after_kill(config)
        if learned is None:
            return self._fail(trial, f"one example at a time does not fit: {why}")
        attributes = {lessons.FITTED: lessons.attribute(learned)}
        self.queue.take_back(trial, crashed=False, user_attrs=attributes)
        return Recovered(Job.of(trial), why=why)

    def _fail(self, trial: FrozenTrial, why: str) -> Recovered:
        self.queue.storage.optuna.set_trial_user_attr(trial._trial_id, ERROR, why)
        self.queue.finish(trial._trial_id, TrialState.FAIL, None)
        return Recovered(Job.of(trial), "FAIL", why)

    def _done(self, job: Job, attempt: int) -> bool:
        if job.kind == "test":
            return self.is_kept(job)
        if job.kind == "baselines" or job.trial is None or job.seed is None:
            return False
        folder = attempt_folder(self.run, job, attempt)
        if readable(TrialResult, folder / records.RESULT) is not None:
            records.promote(self.run.seed(job.trial, job.seed), folder)
            return True
        return False
