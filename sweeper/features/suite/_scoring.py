"""Scores models on a suite, for ``sweeper evaluate suite`` and at the end of a sweep.

Scoring itself needs torch and happens in a process of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.child_process import in_child
from sweeper.errors import Problem, SpecError, UsageError
from sweeper.evaluation.task_scores import evaluations
from sweeper.extras import install_command, missing
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.features.suite.facts import SuiteFacts
from sweeper.plans import Candidate, Plan, Precision
from sweeper.runfolder import RunFolder
from sweeper.spec import ModelSpec, Spec
from sweeper.steps.winner import kept_weights
from sweeper.trials import TrialConfig
from sweeper.units import plural
from sweeper.views.console import Tell
from sweeper.views.work_progress import Hidden, WorkProgress

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


FUNCTION = "sweeper.features.suite._score_models:evaluate"


def require_suite(path: Path) -> str:
    """The absolute path of a suite, for the evaluating process.

    Raises:
        UsageError: There is no such file or folder, or lm-eval is not installed.
    """
    problems = [*missing("Scoring general capability", [HARNESS], install_command("suite"))]
    if not path.exists():
        fix = "Name a folder of lm-eval's task files, or one such file."
        problems.append(Problem("there is no such suite", fix=fix, where=str(path)))
    if problems:
        raise SpecError(problems)
    return str(path.resolve())


def check_suite(path: Path, *, run_generated_code: bool) -> SuiteFacts:
    """What a suite asks of a model; loads its tasks and data, to find mistakes before the sweep.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    suite = require_suite(path)
    with tempfile.TemporaryDirectory(prefix="sweeper-suite-") as folder:
        request = EvaluationRequest(
            suite=suite, folder=folder, models=(), facts=(), run_generated_code=run_generated_code
        )
        return score(request, lambda _line: None)


def score(request: EvaluationRequest, tell: Tell, work: WorkProgress | None = None) -> SuiteFacts:
    """Score what has not been scored yet.

    Args:
        work: Shows how far a task is; nothing if None.

    Returns:
        What the suite asks of a model.

    Raises:
        SweeperError: The models or tasks cannot be used, or the process broke.
    """

    def hear(event: dict[str, Any]) -> None:
        shown.close()  # a line that is redrawn would be written over
        if event["what"] == "started":
            items = "" if event["items"] is None else f", {event['items']} items"
            tell(f"scoring {event['model']} on {event['task']}{items}")
        else:
            items = plural(event["items"], "item")
            tell(f"scored {event['model']} on {event['task']}: {items}, {event['seconds']} s")

    log = Path(request.folder) / "evaluate.log"
    with contextlib.closing(work or Hidden()) as shown:
        return in_child(
            FUNCTION,
            request,
            SuiteFacts,
            what="the process that scores",
            fix="What it had scored is kept: the same command continues from there.",
            where=str(log),
            work=shown,
            hear=hear,
            log=log,
        )


def request_for(
    run: RunFolder,
    plan: Plan,
    spec: Spec,
    suite: str,
    trials: Sequence[int],
    *,
    permitted: bool,
) -> EvaluationRequest:
    """The request to score these trials, each with its base; without trials, the first base.

    Args:
        permitted: Whether code that models write may be run.

    Raises:
        UsageError: A trial has no weights, or a model writes no text.
    """
    chosen = [_trial(run, number) for number in trials]
    first = plan.candidates[0]
    kinds = {facts.id: facts.kind for facts in plan.facts.models}
    if not chosen and kinds[first.model] != "decoder":
        why = "There is no general capability to score."
        raise UsageError(f"{first.model} writes no text", why)
    return EvaluationRequest(
        suite=suite,
        folder=str(evaluations(run)),
        models=spec.models,
        facts=plan.facts.models,
        trials=tuple(chosen),
        bases=() if chosen else (first.model,),
        precision=first.precision,
        quantized={
            model: candidate.strategy
            for model in kinds
            if (candidate := _quantized(plan, model)) is not None
        },
        run_generated_code=permitted,
    )


def _quantized(plan: Plan, model: str) -> Candidate | None:
    """The candidate as which a base is loaded, if it fits the device in no other form."""
    if all(candidate.model != model for candidate in plan.candidates):
        return None
    candidate = plan.of_base(model)
    return candidate if candidate.quantization is not None else None


def _trial(run: RunFolder, number: int) -> TrialToScore:
    weights = kept_weights(run, number)
    if not writes_text(run, number):
        raise UsageError(
            f"trial {number} ends in a classification head",
            why="It writes no text, so there is no general capability to score.",
            fix="Train with --classes-by generate, where the model writes the class's name.",
            where=str(weights),
        )
    config = TrialConfig.read(run.trial(number) / "config.json")
    return TrialToScore(
        number=number, model=config.model, strategy=config.strategy, weights=str(weights)
    )


def writes_text(run: RunFolder, number: int) -> bool:
    """Whether a trial's model writes text, instead of ending in a classification head."""
    weights = run.trial(number) / "weights"
    return weights.is_dir() and not (weights / "head.safetensors").is_file()
