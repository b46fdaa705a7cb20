"""The tasks of a suite as lm-eval runs them, and what it found for each item.

Local files become tasks of lm-eval's own kind; prompts and likelihoods are its business. Code
that a model wrote never runs within lm-eval, always behind this project's walls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from sweeper.errors import SpecError, UsageError, near_match
from sweeper.evaluation.code_execution import run_program
from sweeper.suite.definition import SuiteTask
from sweeper.suite.items import Doc, SuiteItems, extract
from sweeper.suite.scores import Unit

SCORE = "score"
TOKENS = "tokens"
# One figure an item, the first of these that a task of lm-eval has.
_METRICS = ("acc_norm", "acc", "exact_match", "pass@1")
_CODE_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```")
"""What HumanEval's authors end a completion at (arXiv:2107.03374, section 2.1), and a fence."""

Task = Any
"""lm-eval's tasks have no types."""


def local_task(
    name: str, task: SuiteTask, items: SuiteItems, count_tokens: Callable[[str], int]
) -> Task:
    """A task of lm-eval over a local file's items."""
    parts = {"test": items.docs, **({"fewshot": items.shots} if items.shots else {})}
    # Made here and not from the file by lm-eval, which would copy it into the hub's cache.
    data = {split: Dataset.from_list(list(docs)) for split, docs in parts.items()}
    config: dict[str, Any] = {
        "task": name,
        "custom_dataset": lambda **_: data,
        "test_split": "test",
        "num_fewshot": len(items.shots),
        "doc_to_text": lambda doc: doc["prompt"],
        **_KINDS[task.kind or "text"](task, count_tokens),
    }
    if items.shots:
        config |= {"fewshot_split": "fewshot", "fewshot_config": {"sampler": "first_n"}}
    made = ConfigurableTask(config=config)
    made.set_fewshot_seed(0)
    return made


def _multiple_choice(task: SuiteTask, _: Callable[[str], int]) -> dict[str, Any]:
    # Longer choices are less likely whatever they say, so that texts count by character.
    metric = "acc" if task.letters else "acc_norm"
    return {
        "output_type": "multiple_choice",
        "doc_to_choice": lambda doc: doc["choices"],
        "doc_to_target": lambda doc: doc["answer"],
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
    }


def _generation(task: SuiteTask, _: Callable[[str], int]) -> dict[str, Any]:
    return {
        "output_type": "generate_until",
        "doc_to_target": lambda doc: doc["answer"],
        "generation_kwargs": _writing(task, ("\n\n", "\nQuestion:")),
        "process_results": lambda doc, results: {SCORE: float(_matches(task, doc, results[0]))},
        "metric_list": _metric(),
    }


def _code(task: SuiteTask, _: Callable[[str], int]) -> dict[str, Any]:
    return {
        "output_type": "generate_until",
        "doc_to_target": lambda doc: doc["tests"],
        "generation_kwargs": _writing(task, _CODE_STOPS),
        "process_results": lambda doc, results: {
            SCORE: _passes(doc["program"] + results[0], doc["tests"])
        },
        "metric_list": _metric(),
    }


def _text(_: SuiteTask, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    def score(doc: Doc, results: Sequence[float]) -> dict[str, float]:
        tokens = count_tokens(doc["text"])
        return {SCORE: -results[0] / tokens, TOKENS: float(tokens)}

    return {
        "output_type": "loglikelihood_rolling",
        "doc_to_target": lambda doc: doc["text"],
        "process_results": score,
        "metric_list": _metric(),
    }


_KINDS: Mapping[str, Callable[[SuiteTask, Callable[[str], int]], dict[str, Any]]] = {
    "multiple-choice": _multiple_choice,
    "generation": _generation,
    "code": _code,
    "text": _text,
}


def _metric() -> list[dict[str, Any]]:
    return [{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}]


def _writing(task: SuiteTask, stops: Sequence[str]) -> dict[str, Any]:
    until = list(task.stop or stops)
    return {"until": until, "max_gen_toks": task.max_new_tokens, "do_sample": False}


def _matches(task: SuiteTask, doc: Doc, output: str) -> bool:
    """Whether an output holds the reference's answer: the same number, or the same text."""
    wanted: str | None = doc["answer"]
    if task.answer_pattern:
        wanted = extract(task.answer_pattern, doc["answer"])
    pattern = task.output_pattern or task.answer_pattern
    found = extract(pattern, output) if pattern else output
    return found is not None and wanted is not None and _plain(found) == _plain(wanted)


def _plain(text: str) -> str | float:
    words = " ".join(text.split())
    try:
        return float(words.replace(",", "").lstrip("$").rstrip("."))
    except ValueError:
        return words


def _passes(program: str, tests: str) -> float:
    # Permission was asked for before the model was loaded.
    return float(run_program(program, [tests], permitted=True).passed)


def named_tasks(name: str, asked: SuiteTask, *, run_generated_code: bool) -> dict[str, Any]:
    """A task or group of lm-eval by its name, downloaded if it has to be.

    Raises:
        SpecError: lm-eval has no task of that name.
        UsageError: Its data cannot be reached, or it runs code without permission.
    """
    manager = TaskManager()
    wanted = str(asked.lm_eval)
    if wanted not in manager.all_tasks:
        fix = near_match(wanted, manager.all_tasks)
        fix = fix if fix.startswith("Did") else "See 'lm-eval ls tasks'."
        raise SpecError(f"lm-eval has no task {wanted!r}", fix=fix, where=f"tasks.{name}.lm_eval")
    try:
        loaded: dict[str, Any] = manager.load([wanted])
    except OSError as error:  # what datasets and the hub's client raise without a network
        raise UsageError(
            f"the data of lm-eval's task {wanted!r} cannot be reached",
            why=str(error).splitlines()[0],
            fix="Tasks by name need the hub once. Without it, describe a local file in the suite.",
            where=f"tasks.{name}",
        ) from error
    for task in loaded["tasks"].values():
        _prepare(task, asked, name, run_generated_code=run_generated_code)
    return loaded


def _prepare(task: Task, asked: SuiteTask, name: str, *, run_generated_code: bool) -> None:
    if "fewshot" in asked.model_fields_set:
        task.set_config(key="num_fewshot", value=asked.fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(0)
    if not getattr(task, "UNSAFE_CODE", False):
        return
    if not run_generated_code:
        raise UsageError(
            f"{name} runs code that a model wrote, which needs permission",
            fix="Allow it with --run-generated-code, or leave the task out.",
            where=f"tasks.{name}",
        )
    # Its own way runs the code within this process. A plain function, since lm-eval copies whatever
    # else a task's description holds.
    task.set_config(key="process_results", value=lambda doc, results: _judge(task, doc, results))


def _judge(task: Task, doc: Doc, results: Sequence[Any]) -> dict[str, float]:
    program = results[0] if isinstance(results[0], str) else results[0][0]
    return {SCORE: _passes(program, str(task.doc_to_target(doc)))}


class Scored:
    """Scores of single items as lm-eval found them, in one order for every model."""

    def __init__(self, metric: str, unit: Unit, samples: Sequence[Mapping[str, Any]]) -> None:
        self.metric = metric
        self.unit: Unit = unit
        field = SCORE if samples and SCORE in samples[0] else metric
        self.scores = tuple(float(sample[field]) for sample in samples)
        self.weights = tuple(float(sample[TOKENS]) for sample in samples if TOKENS in sample)
        self.keys = tuple(_key(sample) for sample in samples)


def _key(sample: Mapping[str, Any]) -> str:
    doc = sample["doc"]
    return str(doc["key"]) if "prompt" in doc and "key" in doc else str(sample["doc_hash"])[:16]


def score_local(model: HFLM, name: str, asked: SuiteTask, task: Task, *, chat: bool) -> Scored:
    """Score a model on a local task."""
    samples = _samples(model, {"tasks": {name: task}, "groups": {}}, None, chat=chat)[name]
    names = {"multiple-choice": "acc" if asked.letters else "acc_norm", "code": "pass@1"}
    if asked.kind == "text":
        return Scored("loss", "nats/token", samples)
    return Scored(names.get(asked.kind or "", "exact_match"), "points", samples)


def score_named(model: HFLM, loaded: dict[str, Any], asked: SuiteTask, *, chat: bool) -> Scored:
    """Score a model on a task or a group of lm-eval: all items of the group together.

    Raises:
        UsageError: The task has no figure of single items that is better when higher.
    """
    by_task = _samples(model, loaded, asked.limit, chat=chat)
    samples = []
    for name in sorted(by_task):
        # Some tasks read the same output in several ways: the first is the strict one.
        first = by_task[name][0]["filter"]
        samples += [sample for sample in by_task[name] if sample["filter"] == first]
    shared = set.intersection(*(set(sample["metrics"]) for sample in samples))
    metric = next((m for m in (*_METRICS, SCORE) if m in shared), None)
    if metric is None:
        raise UsageError(
            f"lm-eval's task {asked.lm_eval!r} has no score of single items",
            why=f"It has {', '.join(sorted(shared)) or 'none that all of its tasks share'}.",
            fix="For the loss on text, describe a local file with 'kind: text'.",
        )
    return Scored("pass@1" if metric == SCORE else metric, "points", samples)


def _samples(
    model: HFLM, loaded: dict[str, Any], limit: int | None, *, chat: bool
) -> dict[str, list[Any]]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    found = evaluate(
        lm=model,
        task_dict=loaded,
        limit=limit,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        confirm_run_unsafe_code=True,  # replaced above by what runs it behind walls
    )
    samples: dict[str, list[Any]] = found["samples"]
    return samples
