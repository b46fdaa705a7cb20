"""``python -m sweeper.suite.evaluate PARENT``: scores base and tuned models on a suite's tasks.

Reads a request on standard input, writes scores into files after each task, and says one line of
JSON for each task on standard output. What is scored already is not scored again, so that it can
be ended at any time. A request without models checks the suite.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sweeper.artifact import write_text
from sweeper.child_process import answer_request
from sweeper.errors import UsageError
from sweeper.facts.record import SuiteFacts
from sweeper.suite.code_metric import PERMISSION
from sweeper.suite.models import Subject, harnessed, subjects
from sweeper.suite.scores import (
    EvaluationRequest,
    ModelScores,
    TaskScores,
    checked_file,
    harness,
)
from sweeper.suite.tasks import SuiteTask, load_suite, score


class _Evaluation:
    """One request at work. The suite is loaded and checked first."""

    def __init__(self, request: EvaluationRequest, data: Path) -> None:
        self._request = request
        self._kept = Path(request.folder)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tasks = load_suite(
            Path(request.suite), run_generated_code=request.run_generated_code, cache=data
        )

    def run(self) -> None:
        """Score every model on every task that it has not been scored on."""
        if not self._request.models:
            sizes = tuple(task.size() for task in self._tasks)
            found = SuiteFacts(tasks=sizes, measured_with="lm-eval")
            write_text(checked_file(self._kept), found.model_dump_json())
        for subject in subjects(self._request):
            missing = self._missing(subject)
            if not missing:
                continue
            model = harnessed(subject, self._device)
            for task in missing:
                _say(event="started", model=subject.name, task=task.name, items=task.items)
                scores = self._score(model, task, subject.name)
                self._keep(subject, scores)
                _say(
                    event="scored", model=subject.name, task=task.name, items=len(scores.keys),
                    seconds=round(scores.seconds, 1),
                )  # fmt: skip
            del model
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _missing(self, subject: Subject) -> list[SuiteTask]:
        """Tasks without scores; scores of the same base from another run are reused."""
        place, *elsewhere = subject.places(self._kept)
        own = ModelScores.read_or_none(place) or subject.empty()
        known = [one for one in map(ModelScores.read_or_none, elsewhere) if one is not None]
        missing = []
        for task in self._tasks:
            if own.task(task.name, task.digest) is not None:
                continue
            every = (t for scores in known for t in scores.tasks)
            found = next((t for t in every if t.digest == task.digest), None)
            if found is None:
                missing.append(task)
            else:
                own = own.adding(found.model_copy(update={"task": task.name}))
                own.write(place)
        return missing

    def _keep(self, subject: Subject, scores: TaskScores) -> None:
        for path in subject.places(self._kept):
            (ModelScores.read_or_none(path) or subject.empty()).adding(scores).write(path)

    def _score(self, model: Any, task: SuiteTask, subject: str) -> TaskScores:
        started = time.perf_counter()
        _require_room(model, task)
        # A text's loss starts from lm-eval's own first token; one of the tokenizer's would be read
        # as part of the text.
        model.add_bos_token = False if task.reads_text else None
        model.progress.begin(f"{task.name} of {subject}", task.items, task.requests)
        found = score(model, task)
        return TaskScores(
            task=task.name,
            digest=task.digest,
            kind=task.kind,
            metric=found.metric,
            unit=found.unit,
            higher_is_better=found.unit == "points",
            shots=task.shots,
            total_items=task.total,
            keys=found.keys,
            scores=found.scores,
            weights=found.weights,
            harness=harness(),
            seconds=time.perf_counter() - started,
        )


def _require_room(model: Any, task: SuiteTask) -> None:
    if task.max_new_tokens >= model.max_length:
        raise UsageError(
            f"{task.name} asks for {task.max_new_tokens} new tokens",
            why=f"The model reads {model.max_length} at most, question and output together.",
            fix="Lower max_gen_toks in its generation_kwargs.",
        )


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def evaluate(request: EvaluationRequest) -> None:
    """Score every model of a request on its suite."""
    if request.run_generated_code:
        os.environ[PERMISSION] = "1"
    with tempfile.TemporaryDirectory(prefix="sweeper-suite-") as data:
        _Evaluation(request, Path(data)).run()


if __name__ == "__main__":
    answer_request(EvaluationRequest, evaluate)
