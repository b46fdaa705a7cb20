"""Scores of models on the tasks of a suite, item by item, and their files. Only data.

``runs/<name>/evaluations/`` holds one file for each model: ``base-<key>.json`` and
``trial-<n>.json``. A task is known by a digest of its content, so that a changed task is scored
again and an unchanged one is not.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.plans import Precision
from sweeper.runfolder import RunFolder
from sweeper.spec import ModelSpec

FOLDER = "evaluations"
HARNESS = "lm_eval"
"""The name of lm-eval's package."""

Unit = Literal["points", "nats/token"]


class TaskScores(Record):
    """One model on one task. ``keys`` say which item a score belongs to.

    ``scores`` are 1 or 0 (or a share) where ``unit`` is points, else losses in nats per token that
    count by ``weights`` (tokens).
    """

    task: str
    digest: str
    kind: str
    metric: str
    unit: Unit
    higher_is_better: bool
    shots: int | None = Field(None, description="None where the tasks of a group differ")
    total_items: int
    keys: tuple[str, ...]
    scores: tuple[float, ...]
    weights: tuple[float, ...] = ()
    harness: str = Field(description="name and version of what scored it")
    seconds: float = 0.0


class ModelScores(Artifact):
    """One model on all tasks that it was scored on. ``trial`` is None for a base model."""

    model: str
    revision: str | None = None
    dtype: str
    trial: int | None = None
    strategy: str = ""
    tasks: tuple[TaskScores, ...] = ()

    def task(self, name: str, digest: str) -> TaskScores | None:
        """Its scores on exactly this task."""
        found = (t for t in self.tasks if t.task == name and t.digest == digest)
        return next(found, None)

    def adding(self, scores: TaskScores) -> ModelScores:
        """A copy with one more task, which replaces an older version of the same task."""
        kept = tuple(task for task in self.tasks if task.task != scores.task)
        return self.model_copy(update={"tasks": (*kept, scores)})


class TrialToScore(Record):
    """One trained model."""

    number: int
    model: str
    strategy: str
    weights: str


class EvaluationRequest(Artifact):
    """The request to the evaluating process, on its standard input.

    Args:
        suite: Folder or file with the tasks.
        models: Base models as they are found from here; ``facts`` are those of the plan, in order.
        trials: Trained models to score; each one's base is scored in the same dtype before it.
        bases: Ids of base models to score also where no trial asks for it.
        run_generated_code: Whether the user allowed running code that a model wrote.
    """

    suite: str
    folder: str
    models: tuple[ModelSpec, ...]
    facts: tuple[ModelFacts, ...]
    trials: tuple[TrialToScore, ...] = ()
    bases: tuple[str, ...] = ()
    precision: Precision = "fp32"
    run_generated_code: bool = False


def evaluations(run: RunFolder) -> Path:
    """The folder of a run's suite scores."""
    return run.path / FOLDER


def checked_file(folder: Path) -> Path:
    """The file with the size of a checked suite."""
    return folder / "suite.json"


def trial_file(folder: Path, number: int) -> Path:
    """The scores of one trial."""
    return folder / f"trial-{number}.json"


def base_file(folder: Path, key: str) -> Path:
    """The scores of one base model in one dtype."""
    return folder / f"base-{key}.json"


def model_key(facts: ModelFacts, folder: Path, dtype: str) -> str:
    """One base model in one dtype: its revision, or size and age of its files if it has none."""
    content = [facts.id, facts.revision or weights_state(folder), dtype]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def harness() -> str:
    """Name and version of the program that scores, empty if it is not installed."""
    try:
        return f"lm-eval {version(HARNESS)}"
    except PackageNotFoundError:
        return ""
