"""Scores models on a suite's tasks, in a process of its own.

Scores are written after each task and not computed again, so the process can be ended at any time.
A request without models only checks the suite.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from torch import nn
from transformers import AutoTokenizer

from sweeper.backend import ProgressReporter
from sweeper.cache import home
from sweeper.child_process import tell_event, tell_progress
from sweeper.errors import UsageError
from sweeper.evaluation.task_scores import FOLDER, ModelScores, TaskScores, base_file, trial_file
from sweeper.features.suite._scoring import EvaluationRequest, Subject, model_key
from sweeper.features.suite._tasks import SuiteTask, load_suite, score
from sweeper.features.suite.facts import SuiteFacts
from sweeper.metrics.programs import PERMISSION
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.training.base_model.base_lender import load_base
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.trial.reload import reload

_MAX_TOKENS = 2048
"""Maximum tokens of prompt and output: lm-eval's default for models without a context length."""


def _name(subject: Subject) -> str:
    return "base" if subject.trial is None else f"trial {subject.trial}"


def _no_scores(subject: Subject) -> ModelScores:
    return ModelScores.taken_from(
        subject, model=subject.facts.id, revision=subject.facts.revision, tasks=()
    )


def _folder(subject: Subject) -> Path:
    """The folder of the base model."""
    return weights_folder(subject.spec, subject.facts)


def score_files(subject: Subject, folder_of_run: Path) -> list[Path]:
    """The files of a model's scores: for a base, also the file that all runs share."""
    if subject.trial is not None:
        return [trial_file(folder_of_run, subject.trial)]
    dtype_and_quantization = f"{subject.dtype} {subject.quantized}".rstrip()
    key = model_key(subject.facts, _folder(subject), dtype_and_quantization)
    return [base_file(folder, key) for folder in (folder_of_run, home() / FOLDER)]


def _load(subject: Subject, device: torch.device) -> nn.Module:
    if subject.trial is not None:
        return reload(Path(subject.weights), device).model
    dtype = getattr(torch, subject.dtype)
    quantized = None
    if subject.quantized:
        quantized = strategy_named(subject.quantized).quantization_config({}, dtype=dtype)
    trust, name = subject.spec.trust_remote_code, subject.facts.id
    return load_base(_folder(subject), "CAUSAL_LM", dtype, device, quantized, trust, name)


class _Progress(CacheHook):
    """A cache hook of lm-eval that keeps no answers, but reports how many items are scored."""

    def __init__(self) -> None:
        super().__init__(None)
        self._tell = ProgressReporter(tell_progress)
        self.begin("", 1, 1)

    def begin(self, what: str, items: int, requests: int) -> None:
        """Set what is scored next, its number of items, and its number of requests."""
        self._what, self._items, self._requests, self._answers = what, items, requests, 0

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self._answers += 1
        done = self._items * min(self._answers, self._requests) // self._requests
        self._tell(self._what, done, self._items)


class _ReportingModel(HFLM):
    """A model for lm-eval that reports progress, and limits only the tokens of an output.

    lm-eval limits prompt and output together, virtual tokens included.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.progress = self.cache_hook = _Progress()

    def _loglikelihood_tokens(self, requests: list[Any], **options: Any) -> Any:
        answers = super()._loglikelihood_tokens(requests, **options)
        for (text, *_), answer in zip(requests, answers, strict=True):
            if text is None:  # a window of a text: lm-eval calls its cache only at the end
                self.progress.add_partial("loglikelihood_rolling", text, answer)
        return answers

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any
    ) -> Any:
        max_new_tokens = max_length - context.shape[1]
        return super()._model_generate(
            context, None, stop, max_new_tokens=max_new_tokens, **options
        )


def lm_eval_model(subject: Subject, device: torch.device) -> Any:
    """A model with lm-eval's interface, in evaluation mode.

    Raises:
        UsageError: The tokenizer has no end-of-text token.
    """
    folder, trust = _folder(subject), subject.spec.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=trust, local_files_only=True
    )
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"the tokenizer of {subject.facts.id} has no token that ends a text",
            why="lm-eval needs one to find the end of an output.",
            fix="Set eos_token in the model's tokenizer_config.json.",
            where=str(folder),
        )
    max_length = min(_MAX_TOKENS, subject.facts.context_length)
    return _ReportingModel(
        pretrained=_load(subject, device),
        tokenizer=tokenizer,
        backend="causal",
        max_length=max_length,
        # lm-eval finds the largest batch that fits a GPU; on a CPU, 1 avoids padding.
        batch_size="auto" if device.type == "cuda" else 1,
    )


class _Evaluation:
    """Evaluates a request. The constructor loads and checks the suite."""

    def __init__(self, request: EvaluationRequest, data: Path) -> None:
        self._request = request
        self._folder = Path(request.folder)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tasks = load_suite(
            Path(request.suite), run_generated_code=request.run_generated_code, cache=data
        )

    def run(self) -> SuiteFacts:
        """Score each model on the tasks for which it has no scores, and return all tasks' sizes."""
        for subject in self._request.subjects:
            missing = self._missing_tasks(subject)
            if not missing:
                continue
            model = lm_eval_model(subject, self._device)
            for task in missing:
                tell_event(what="started", model=_name(subject), task=task.name, items=task.items)
                scores = self._score(model, task, _name(subject))
                self._write_scores(subject, scores)
                tell_event(
                    what="scored", model=_name(subject), task=task.name, items=len(scores.keys),
                    seconds=round(scores.seconds, 1),
                )  # fmt: skip
            del model
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        sizes = tuple(task.size() for task in self._tasks)
        return SuiteFacts(tasks=sizes, measured_with="lm-eval")

    def _missing_tasks(self, subject: Subject) -> list[SuiteTask]:
        """The tasks for which the model has no scores, after copying those from other runs."""
        path, *other_files = score_files(subject, self._folder)
        own_scores = ModelScores.read_or_none(path) or _no_scores(subject)
        shared_scores = [
            other for other in map(ModelScores.read_or_none, other_files) if other is not None
        ]
        missing = []
        for task in self._tasks:
            if own_scores.task(task.name, task.digest) is not None:
                continue
            scored_elsewhere = (t for scores in shared_scores for t in scores.tasks)
            copied = next((t for t in scored_elsewhere if t.digest == task.digest), None)
            if copied is None:
                missing.append(task)
            else:
                own_scores = own_scores.with_task(copied.model_copy(update={"task": task.name}))
                own_scores.write(path)
        return missing

    def _write_scores(self, subject: Subject, scores: TaskScores) -> None:
        for path in score_files(subject, self._folder):
            (ModelScores.read_or_none(path) or _no_scores(subject)).with_task(scores).write(path)

    def _score(self, model: Any, task: SuiteTask, subject: str) -> TaskScores:
        started = time.perf_counter()
        if task.max_new_tokens >= model.max_length:
            raise UsageError(
                f"{task.name} asks for {task.max_new_tokens} new tokens",
                why=f"The model reads {model.max_length} at most, question and output together.",
                fix="Lower max_gen_toks in its generation_kwargs.",
            )
        # lm-eval adds the first token of a text itself; another one would count as text.
        model.add_bos_token = False if task.reads_text else None
        model.progress.begin(f"{task.name} of {subject}", task.items, task.requests)
        scores = score(model, task)
        return scores.model_copy(update={"seconds": time.perf_counter() - started})


def evaluate(request: EvaluationRequest) -> SuiteFacts:
    """Score every model of a request on its suite, and return the sizes of the tasks."""
    if request.run_generated_code:
        os.environ[PERMISSION] = "1"
    with tempfile.TemporaryDirectory(prefix="sweeper-suite-") as data:
        return _Evaluation(request, Path(data)).run()
