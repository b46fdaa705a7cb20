"""The coordinator's side of the job queue: each job once, recovered when its worker is gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution import records
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.jobs import ERROR, Job, score_file
from sweeper.execution.repair import readable
from sweeper.execution.settle import CRASHES_ALLOWED
from sweeper.execution.watch import Watch
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult


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
        """Queue those jobs that were not queued before."""
        self.look()
        present = {Job.of(trial).name for trial in self.trials}
        for job in jobs:
            if job.name not in present:
                self.queue.add({}, job.attributes())
        self.look()

    def open(self) -> int:
        """How many jobs have not ended."""
        return sum(1 for trial in self.trials if not trial.state.is_finished())

    def counts(self) -> tuple[int, int]:
        """All jobs, and those that have ended."""
        return len(self.trials), len(self.trials) - self.open()

    def recover(self, *, crashed: bool) -> list[tuple[Job, bool]]:
        """End or put back the jobs whose worker is gone; the flag says which ended."""
        self.look()
        dead = self.watch.dead(self.trials)
        recovered = [(Job.of(trial), self._recover(trial, crashed)) for trial in dead]
        if dead:
            self.look()
        return recovered

    def _recover(self, trial: FrozenTrial, crashed: bool) -> bool:
        if self._done(trial):
            return self.queue.finish(trial._trial_id, TrialState.COMPLETE, 0.0)
        counts = crashed and bool(lease_of(trial).owner)
        if counts and lease_of(trial).crashes + 1 >= CRASHES_ALLOWED:
            why = f"its workers were gone {CRASHES_ALLOWED} times"
            self.queue.storage.optuna.set_trial_user_attr(trial._trial_id, ERROR, why)
            return self.queue.finish(trial._trial_id, TrialState.FAIL, None)
        self.queue.take_back(trial, crashed=counts)
        return False

    def _done(self, trial: FrozenTrial) -> bool:
        job = Job.of(trial)
        if job.kind == "test":
            return records.read_score(score_file(self.run, job)) is not None
        if job.kind == "baselines" or job.trial is None or job.seed is None:
            return False
        target = self.run.seed(job.trial, job.seed)
        attempt = target / "attempts" / str(lease_of(trial).attempt)
        if readable(TrialResult, attempt / records.RESULT) is not None:
            records.promote(target, attempt)
            return True
        return False
