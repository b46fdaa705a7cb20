"""What waits in the queue beside the trials: baselines, confirmation runs, test scores.

Only types and their form as attributes of a queued Optuna trial.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial

from sweeper.runfolder import RunFolder

JOB = "sweeper:job"
ERROR = "sweeper:error"


@dataclass(frozen=True)
class Job:
    """One piece of work that is not a trial.

    Args:
        kind: ``baselines`` scores all cheap models; ``confirm`` trains ``trial`` again with
            ``seed``; ``test`` scores one model on the test split.
        name: Unique in the run; for ``test`` what the score is filed under.
        trial: The trial that it is about; None for baselines.
        seed: The seed of a confirmation run; None for the trial's own.
    """

    kind: Literal["baselines", "confirm", "test"]
    name: str
    trial: int | None = None
    seed: int | None = None

    def attributes(self) -> dict[str, dict[str, object]]:
        """The job as attributes of a queued trial."""
        return {JOB: asdict(self)}

    @classmethod
    def of(cls, trial: FrozenTrial) -> Job:
        """The job that a queued trial stands for."""
        return cls(**trial.user_attrs[JOB])


def confirm(trial: int, seed: int) -> Job:
    """Train a finalist again with another seed."""
    return Job("confirm", f"confirm-{trial}-seed-{seed}", trial, seed)


def scoring(trial: int, seed: int | None = None) -> Job:
    """Score a trial, or one of its confirmation runs, on the test split."""
    suffix = "" if seed is None else f"-seed-{seed}"
    return Job("test", f"trial-{trial}{suffix}", trial, seed)


def attempt_folder(run: RunFolder, job: Job, attempt: int) -> Path:
    """Where an attempt at a job leaves what it worked with and why it ended."""
    if job.kind == "confirm" and job.trial is not None and job.seed is not None:
        return run.seed(job.trial, job.seed) / "attempts" / str(attempt)
    return run.path / "jobs" / job.name / str(attempt)


def score_file(run: RunFolder, job: Job) -> Path:
    """Where the score of a ``test`` job is kept until the seal holds it."""
    return run.path / "scores" / f"{job.name}.json"
