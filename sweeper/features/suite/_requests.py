"""The request to the process that scores models on a suite. Only data."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.plans import Precision
from sweeper.spec import ModelSpec

HARNESS = "lm_eval"
"""The name of lm-eval's package."""


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
        quantized: By model, the strategy whose quantisation its base is loaded in.
        run_generated_code: Whether the user allowed running code that a model wrote.
    """

    suite: str
    folder: str
    models: tuple[ModelSpec, ...]
    facts: tuple[ModelFacts, ...]
    trials: tuple[TrialToScore, ...] = ()
    bases: tuple[str, ...] = ()
    precision: Precision = "fp32"
    quantized: dict[str, str] = Field(default_factory=dict)
    run_generated_code: bool = False


def checked_file(folder: Path) -> Path:
    """The file with the size of a checked suite."""
    return folder / "suite.json"


def model_key(facts: ModelFacts, folder: Path, form: str) -> str:
    """One base model in one dtype: its revision, or size and age of its files if it has none.

    Args:
        form: The dtype, and the strategy whose quantisation it has.
    """
    content = [facts.id, facts.revision or weights_state(folder), form]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def harness() -> str:
    """Name and version of the program that scores, empty if it is not installed."""
    try:
        return f"lm-eval {version(HARNESS)}"
    except PackageNotFoundError:
        return ""
