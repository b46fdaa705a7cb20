"""Models' scores on each item of tasks that they were not trained for, and the scores' files.

``runs/<name>/evaluations/`` holds one file for each model: ``base-<key>.json`` and
``trial-<n>.json``. A task is identified by a digest of its content, so that only changed tasks are
scored again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.runfolder import RunFolder
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel

FOLDER = "evaluations"

Unit = Literal["points", "nats/token"]


class ScoredTask(Record):
    """A task, and how it is scored."""

    task: str
    kind: str
    metric: str
    unit: Unit
    higher_is_better: bool
    shots: int | None = Field(None, description="None where the tasks of a group differ")
    total_items: int
    harness: str = Field(description="name and version of what scored it")


class TaskScores(ScoredTask):
    """One model's scores on one task. ``keys`` identify the item of each score.

    ``scores`` are 1 or 0 (or a share) if ``unit`` is points. Otherwise they are losses in nats per
    token, whose mean is weighted by ``weights``, the items' numbers of tokens.
    """

    digest: str
    keys: tuple[str, ...]
    scores: tuple[float, ...]
    weights: tuple[float, ...] = ()
    seconds: float = 0.0


class ModelScores(Artifact):
    """One model's scores on all tasks. ``trial`` is None for a base model."""

    model: str
    revision: str | None = None
    dtype: str
    trial: int | None = None
    strategy: StrategyOnModel = NO_STRATEGY
    tasks: tuple[TaskScores, ...] = ()

    def task(self, name: str, digest: str) -> TaskScores | None:
        """The scores on the task with this name and digest."""
        matches = (t for t in self.tasks if t.task == name and t.digest == digest)
        return next(matches, None)

    def with_task(self, scores: TaskScores) -> ModelScores:
        """A copy with these scores, in place of older ones on the same task."""
        other_tasks = tuple(task for task in self.tasks if task.task != scores.task)
        return self.model_copy(update={"tasks": (*other_tasks, scores)})


def evaluations(run: RunFolder) -> Path:
    """The folder of a run's scores on tasks that were not trained for."""
    return run.path / FOLDER


def trial_file(folder: Path, number: int) -> Path:
    """The path of one trial's scores."""
    return folder / f"trial-{number}.json"


def base_file(folder: Path, key: str) -> Path:
    """The path of one base model's scores in one dtype."""
    return folder / f"base-{key}.json"
