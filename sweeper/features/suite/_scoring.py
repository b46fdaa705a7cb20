"""Scores models on a suite, for ``sweeper evaluate suite`` and at the end of a sweep.

Scoring itself needs torch and happens in a process of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.errors import Problem, SpecError, UsageError
from sweeper.evaluation.task_scores import evaluations
from sweeper.extras import install_command, missing
from sweeper.features.suite._facts import SuiteFacts
from sweeper.features.suite._requests import (
    HARNESS,
    EvaluationRequest,
    TrialToScore,
    checked_file,
)
from sweeper.plans import Candidate, Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.trials import TrialConfig
from sweeper.units import plural
from sweeper.views.console import Tell
from sweeper.views.work_progress import Hidden, WorkProgress

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
        score(request, lambda _line: None)
        return SuiteFacts.model_validate_json(checked_file(Path(folder)).read_bytes())


def score(request: EvaluationRequest, tell: Tell, work: WorkProgress | None = None) -> None:
    """Score what has not been scored yet.

    Args:
        work: Shows how far a task is; nothing if None.

    Returns:
        The signal that ended it, or None if it is done.

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
        in_child(
            FUNCTION,
            request,
            Record,
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
        raise UsageError(
            f"{first.model} writes no text", why="There is no general capability to score."
        )
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
    folder = run.trial(number)
    weights = folder / "weights"
    if not weights.is_dir():
        raise UsageError(
            f"trial {number} has no weights",
            why="Only completed trials keep them.",
            fix=f"'sweeper report {run.quoted}' lists the trials that completed.",
            where=str(weights),
        )
    if not writes_text(run, number):
        raise UsageError(
            f"trial {number} ends in a classification head",
            why="It writes no text, so there is no general capability to score.",
            fix="Train with --classes-by generate, where the model writes the class's name.",
            where=str(weights),
        )
    config = TrialConfig.read(folder / "config.json")
    return TrialToScore(
        number=number, model=config.model, strategy=config.strategy, weights=str(weights)
    )


def writes_text(run: RunFolder, number: int) -> bool:
    """Whether a trial's model writes text, instead of ending in a classification head."""
    weights = run.trial(number) / "weights"
    return weights.is_dir() and not (weights / "head.safetensors").is_file()
