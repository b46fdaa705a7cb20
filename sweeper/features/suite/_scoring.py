"""Builds the request to the process that scores models on a suite, and starts the process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeper.artifact import Artifact, Record
from sweeper.child_process import in_child
from sweeper.errors import Problem, SpecError, UsageError
from sweeper.evaluation.task_scores import evaluations
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.features.suite.facts import SuiteFacts
from sweeper.packages import install_command, missing
from sweeper.plans import Candidate, Plan, frozen_dtype
from sweeper.runfolder import RunFolder
from sweeper.spec import ModelSpec, Spec
from sweeper.steps.winner import kept_weights
from sweeper.textfiles import read_json_object
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel
from sweeper.trials import TrialConfig
from sweeper.units import plural
from sweeper.views.console import Say
from sweeper.views.work_progress import Hidden, WorkProgress

HARNESS = "lm_eval"
"""The name of lm-eval's package."""


class Subject(Record):
    """A model to score: a base, or the model of a trial.

    Args:
        spec: The base model as the run's spec names it.
        dtype: The dtype of the base's weights.
        quantized: The strategy whose quantisation the base has; empty if it has none.
        trial: The trial's number; None for a base.
        weights: The ``weights/`` folder of the trial; empty for a base.
    """

    spec: ModelSpec
    facts: ModelFacts
    dtype: str
    quantized: str = ""
    trial: int | None = None
    strategy: StrategyOnModel = NO_STRATEGY
    weights: str = ""


class EvaluationRequest(Artifact):
    """The request to the evaluating process, on its standard input.

    Args:
        suite: Folder or file with the tasks.
        folder: Folder of the scores.
        subjects: The models; a base comes before its trials.
        run_generated_code: Whether code that a model wrote may be run.
    """

    suite: str
    folder: str
    subjects: tuple[Subject, ...] = ()
    run_generated_code: bool = False


def model_key(facts: ModelFacts, folder: Path, dtype_and_quantization: str) -> str:
    """A hash of a base model's name, its revision or the state of its files, and its dtype."""
    content = [facts.id, facts.revision or weights_state(folder), dtype_and_quantization]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def harness() -> str:
    """Name and version of lm-eval; empty if it is not installed."""
    try:
        return f"lm-eval {version(HARNESS)}"
    except PackageNotFoundError:
        return ""


FUNCTION = "sweeper.features.suite._score_models:evaluate"
"""The function that the evaluating process runs."""


def require_suite(path: Path) -> str:
    """The absolute path of a suite, for the evaluating process.

    Raises:
        SpecError: There is no such file or folder, or lm-eval is not installed.
    """
    problems = [*missing("Scoring general capability", [HARNESS], install_command("suite"))]
    if not path.exists():
        fix = "Name a folder of lm-eval's task files, or one such file."
        problems.append(Problem("there is no such suite", fix=fix, where=str(path)))
    if problems:
        raise SpecError(problems)
    return str(path.resolve())


def check_suite(path: Path, *, run_generated_code: bool) -> SuiteFacts:
    """The sizes of a suite's tasks; loads tasks and data, to find mistakes before the sweep.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    suite = require_suite(path)
    with tempfile.TemporaryDirectory(prefix="sweeper-suite-") as folder:
        request = EvaluationRequest(
            suite=suite, folder=folder, run_generated_code=run_generated_code
        )
        return score(request, lambda _line: None)


def score(request: EvaluationRequest, tell: Say, work: WorkProgress | None = None) -> SuiteFacts:
    """Score models on the tasks that have no scores yet.

    Args:
        work: The display of progress; none if None.

    Returns:
        The sizes of the suite's tasks.

    Raises:
        SweeperError: The models or tasks cannot be used, or the process broke.
    """

    def on_event(event: dict[str, Any]) -> None:
        display.close()  # otherwise the progress line overwrites the message
        if event["what"] == "started":
            items = "" if event["items"] is None else f", {event['items']} items"
            tell(f"scoring {event['model']} on {event['task']}{items}")
        else:
            items = plural(event["items"], "item")
            tell(f"scored {event['model']} on {event['task']}: {items}, {event['seconds']} s")

    log = Path(request.folder) / "evaluate.log"
    with contextlib.closing(work or Hidden()) as display:
        return in_child(
            FUNCTION,
            request,
            SuiteFacts,
            what="the process that scores",
            fix="Scores so far are kept. Repeat the command to continue.",
            where=str(log),
            work=display,
            on_event=on_event,
            log=log,
        )


def request_for(
    run: RunFolder, plan: Plan, spec: Spec, suite: str, trials: Sequence[int], *, permitted: bool
) -> EvaluationRequest:
    """The request to score these trials, each with its base; without trials, the first base.

    Args:
        permitted: Whether generated code may be run.

    Raises:
        UsageError: A trial has no weights, or a model writes no text.
    """
    specs_and_facts = {
        facts.id: (each, facts) for each, facts in zip(spec.models, plan.facts.models, strict=True)
    }

    def base(model: str, dtype: str) -> Subject:
        model_spec, facts = specs_and_facts[model]
        candidate = _quantized_candidate(plan, model)
        quantized = candidate.strategy if candidate else ""
        return Subject(spec=model_spec, facts=facts, dtype=dtype, quantized=quantized)

    subjects: list[Subject] = []
    for number in trials:
        weights = _weights(run, number)
        config = TrialConfig.read(run.trial(number) / "config.json")
        record = read_json_object(weights / "sweeper.json")
        untrained = base(config.model, str(record["base_dtype"]))
        subjects += [] if untrained in subjects else [untrained]
        trial_fields = {"trial": number, "strategy": config.strategy, "weights": str(weights)}
        subjects.append(untrained.model_copy(update=trial_fields))
    if not trials:
        first = plan.candidates[0]
        precision = first.setup.precision
        dtype = "float32" if precision == "fp32" else frozen_dtype(precision)
        subjects.append(base(first.model, dtype))
        if subjects[0].facts.kind != "decoder":
            why = "There is no general capability to score."
            raise UsageError(f"{first.model} writes no text", why)
    return EvaluationRequest(
        suite=suite,
        folder=str(evaluations(run)),
        subjects=tuple(subjects),
        run_generated_code=permitted,
    )


def _quantized_candidate(plan: Plan, model: str) -> Candidate | None:
    """The candidate whose quantisation the base needs to fit; None if it fits without."""
    if all(candidate.model != model for candidate in plan.candidates):
        return None
    candidate = plan.candidate_of_untrained_base(model)
    return candidate if candidate.setup.quantization is not None else None


def _weights(run: RunFolder, number: int) -> Path:
    weights = kept_weights(run, number)
    if not writes_text(run, number):
        raise UsageError(
            f"trial {number} ends in a classification head",
            why="It writes no text, so there is no general capability to score.",
            fix="Train with --classes-by generate, where the model writes the class's name.",
            where=str(weights),
        )
    return weights


def writes_text(run: RunFolder, number: int) -> bool:
    """Whether a trial's model writes text, instead of ending in a classification head."""
    weights = run.trial(number) / "weights"
    return weights.is_dir() and not (weights / "head.safetensors").is_file()
