"""``python -m sweeper.suite.evaluate``: scores base and tuned models on a suite's tasks.

Reads a request on standard input, writes scores into files after each task, and says one line of
JSON for each task on standard output; lines of ``PROGRESS <what> <done> <of>`` between them say how
far a task is. What is scored already is not scored again, so that it can be ended at any time. How
models are loaded and tasks are scored is said elsewhere.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sweeper.errors import SweeperError, UsageError
from sweeper.suite.definition import SuiteTask
from sweeper.suite.items import SuiteItems, load_items
from sweeper.suite.lm_eval_tasks import Scored, local_task, named_tasks, score_local, score_named
from sweeper.suite.models import Subject, harnessed, subjects
from sweeper.suite.scores import EvaluationRequest, TaskScores, harness, read_scores, task_digest
from sweeper.underway import Underway, print_progress


class _Evaluation:
    """One request at work."""

    def __init__(self, request: EvaluationRequest) -> None:
        self._request = request
        self._kept = Path(request.folder)
        self._underway = Underway(print_progress)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        suite = request.suite
        self._items: dict[str, SuiteItems | None] = {
            name: load_items(suite, name) if task.file else None
            for name, task in suite.tasks.items()
        }
        self._digests = {
            name: task_digest(task, self._items[name], chat_template=suite.chat_template)
            for name, task in suite.tasks.items()
        }

    def run(self) -> None:
        """Score every model on every task that it has not been scored on."""
        for subject in subjects(self._request):
            missing = self._missing(subject)
            if not missing:
                continue
            self._underway(f"loading {subject.name}", 0, 0)
            model = harnessed(subject, self._device, self._underway)
            for name in missing:
                _say(event="started", model=subject.name, task=name, items=self._count(name))
                model.underway = self._underway.steps(f"scoring {subject.name} on {name}")
                scores = self._score(model, name)
                self._keep(subject, scores)
                _say(
                    event="scored", model=subject.name, task=name, items=len(scores.keys),
                    seconds=round(scores.seconds, 1),
                )  # fmt: skip
            del model
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _count(self, name: str) -> int | None:
        items = self._items[name]
        return len(items.docs) if items else None

    def _missing(self, subject: Subject) -> list[str]:
        """Tasks without scores; what another run found for the same base is taken over."""
        place, *elsewhere = subject.places(self._kept)
        own = read_scores(place) or subject.empty()
        known = [scores for path in elsewhere if (scores := read_scores(path)) is not None]
        missing = []
        for name, digest in self._digests.items():
            if own.task(name, digest) is not None:
                continue
            found = next((t for scores in known for t in scores.tasks if t.digest == digest), None)
            if found is None:
                missing.append(name)
            else:
                own = own.adding(found.model_copy(update={"task": name}))
                own.write(place)
        return missing

    def _keep(self, subject: Subject, scores: TaskScores) -> None:
        for path in subject.places(self._kept):
            (read_scores(path) or subject.empty()).adding(scores).write(path)

    def _score(self, model: Any, name: str) -> TaskScores:
        started = time.perf_counter()
        suite, asked, items = (
            self._request.suite,
            self._request.suite.tasks[name],
            self._items[name],
        )
        # A text's loss starts from lm-eval's own first token; one of the tokenizer's would be read
        # as part of the text.
        model.add_bos_token = False if asked.kind == "text" else None
        if items is not None:
            _require_room(model, name, asked)
            task = local_task(name, asked, items, lambda text: len(model.tok_encode(text)))
            found = score_local(model, name, asked, task, chat=suite.chat_template)
            total = items.total
        else:
            permitted = self._request.run_generated_code
            loaded = named_tasks(name, asked, run_generated_code=permitted)
            found = score_named(model, loaded, asked, chat=suite.chat_template)
            total = sum(len(task.eval_docs) for task in loaded["tasks"].values())
        return self._scores(name, found, total, time.perf_counter() - started)

    def _scores(self, name: str, found: Scored, total: int, seconds: float) -> TaskScores:
        asked = self._request.suite.tasks[name]
        given = asked.lm_eval is None or "fewshot" in asked.model_fields_set
        return TaskScores(
            task=name,
            digest=self._digests[name],
            kind=asked.kind or f"lm-eval: {asked.lm_eval}",
            metric=found.metric,
            unit=found.unit,
            higher_is_better=found.unit == "points",
            shots=asked.fewshot if given else None,
            total_items=total,
            keys=found.keys,
            scores=found.scores,
            weights=found.weights,
            harness=harness(),
            seconds=seconds,
        )


def _require_room(model: Any, name: str, asked: SuiteTask) -> None:
    if asked.kind in ("generation", "code") and asked.max_new_tokens >= model.max_length:
        raise UsageError(
            f"{name} asks for {asked.max_new_tokens} new tokens",
            why=f"The model reads {model.max_length} at most, question and output together.",
            fix="Lower max_new_tokens.",
            where=f"tasks.{name}.max_new_tokens",
        )


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Answer one request."""
    request = EvaluationRequest.from_json(sys.stdin.read())
    if request.run_generated_code:
        # lm-eval's own code tasks look for this before they load; they run nothing here.
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    try:
        _Evaluation(request).run()
    except SweeperError as error:
        problems = [vars(problem) for problem in error.problems]
        _say(event="failed", exit_code=error.exit_code, problems=problems)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
