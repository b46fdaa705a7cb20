"""Loads and checks the lm-eval tasks of a suite, and scores models on them.

lm-eval makes prompts, solved examples, filters and likelihoods. This module chooses items by
content, and refuses tasks that would run generated code outside the sandbox.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import handle_non_serializable

from sweeper.errors import DataError, Problem, SpecError, UsageError, near_match
from sweeper.evaluation.task_scores import TaskScores, Unit
from sweeper.facts.dataset.lengths import BYTES_PER_TOKEN
from sweeper.features.suite._scoring import harness
from sweeper.features.suite.facts import (
    MAX_GEN_TOKS,
    SuiteTaskFacts,
    members,
    name_of,
    suite_files,
    top_names,
)
from sweeper.metrics import programs
from sweeper.metrics.programs import refusal

# The score of an item is the first of these metrics that a task has, else its first metric from
# 0 to 1.
_METRICS = ("acc_norm", "acc", "exact_match", "pass@1")
# Maximum number of problems that an error lists: a file that is read wrongly has one in each row.
_MAX_PROBLEMS = 5

_SANDBOX_FIX = (
    "Copy its file into the suite and score it by 'metric: !function "
    f"{programs.__name__}.pass_at_1', as examples/suites/local/code.yaml does."
)
Task = Any
"""lm-eval's tasks have no types."""
Config = dict[str, Any]
Doc = Mapping[str, Any]
MAX_SECONDS = 60
"""Limit of processor time for one filter over all items, or for the metrics of one item. lm-eval's
filters take 0.1 s for 1,000 outputs (measured)."""
MAX_LOADING_SECONDS = 600
"""Limit of processor time for loading a task with its data."""


@dataclass(frozen=True)
class SuiteTask:
    """A task of lm-eval, or a group whose items count together.

    Args:
        tasks: lm-eval's task objects by name.
        rows: Ascending indexes of the scored rows, by task name.
        total: Number of different items in the data.
        apply_chat_template: Whether prompts go through the model's chat template.
        digest: A hash of prompts, expected outputs and scoring. Scores with the same digest are
            of the same task.
    """

    name: str
    tasks: Mapping[str, Task]
    rows: Mapping[str, list[int]]
    total: int
    apply_chat_template: bool
    digest: str

    @property
    def items(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    @property
    def requests(self) -> int:
        return sum(len(task.instances) for task in self.tasks.values())

    @property
    def kind(self) -> str:
        """The output type (``multiple_choice``, ...), or those of a group."""
        return ", ".join(sorted({task.OUTPUT_TYPE for task in self.tasks.values()}))

    @property
    def reads_text(self) -> bool:
        """Whether the task measures the loss on texts."""
        return self.kind == "loglikelihood_rolling"

    @property
    def shots(self) -> int | None:
        """Solved examples before each item; None where the tasks of a group differ."""
        counts = {task.config.num_fewshot for task in self.tasks.values()}
        return counts.pop() if len(counts) == 1 else None

    @property
    def max_new_tokens(self) -> int:
        """Tokens of the longest output; 0 if nothing is generated."""
        generating = [t.config for t in self.tasks.values() if t.OUTPUT_TYPE == "generate_until"]
        caps = (c.generation_kwargs.get("max_gen_toks", MAX_GEN_TOKS) for c in generating)
        return max(caps, default=0)

    def size(self) -> SuiteTaskFacts:
        """The sizes of the task. Tokens are estimated from bytes, since there is no tokenizer."""
        passes = {_forward_pass(i) for task in self.tasks.values() for i in task.instances}
        size = sum(len(prompt.encode()) + len(output.encode()) for prompt, output in passes)
        return SuiteTaskFacts(
            name=self.name,
            output_type=self.kind,
            items=self.items,
            prompt_tokens=round(size / BYTES_PER_TOKEN / max(len(passes), 1), 1),
            requests=round(len(passes) / max(self.items, 1), 3),
            shots=self.shots or 0,
            max_new_tokens=self.max_new_tokens,
        )


def _forward_pass(instance: Any) -> tuple[str, str]:
    """Prompt and output of a request, but "" for outputs of one character: they share a pass."""
    prompt, *rest = instance.args
    output = rest[0] if rest and isinstance(rest[0], str) else ""
    return str(prompt), output if len(output.strip()) > 1 else ""


def load_suite(path: Path, *, run_generated_code: bool, cache: Path) -> list[SuiteTask]:
    """Load the tasks of a suite, and render all templates for every item.

    Args:
        path: A folder of task files, or one file of a task or group.
        cache: Folder for lm-eval's copies of local data files.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    path = path.resolve()
    files = suite_files(path)
    index = _index(path, files, with_defaults=False)
    names = top_names(files)
    if _unknown_tasks(names, index.task_index):
        index = _index(path, files, with_defaults=True)
        if unknown_names := _unknown_tasks(names, index.task_index):
            fix = near_match(unknown_names[0], index.all_tasks)
            fix = fix if fix.startswith("Did") else "See 'lm-eval ls tasks'."
            raise SpecError(f"there is no task {unknown_names[0]!r}", fix=fix, where=str(path))
    _require_sandbox(names, index.task_index, path, run_generated_code=run_generated_code)
    folder = path if path.is_dir() else path.parent
    files_by_name = {name: entry.yaml_path for name, entry in index.task_index.items()}

    def file_of(*names: str) -> str:
        return str(next((file for name in names if (file := files_by_name.get(name))), path))

    return [
        _prepared_task(
            child, {key: (task, file_of(key, child, name)) for key, task in tasks.items()}
        )
        for name in names
        for child, tasks in _load_tasks(name, index, folder, cache, separate=path.is_file())
    ]


def _index(
    path: Path, files: Mapping[Path, Mapping[str, Any]], *, with_defaults: bool
) -> TaskManager:
    """lm-eval's index of the suite's task files and, with defaults, of its own (takes seconds)."""
    has_groups = any(map(members, files.values()))
    # A single task needs no other file of its folder, which may hold a whole project.
    folder = path if path.is_dir() else path.parent if has_groups else None
    manager = TaskManager(include_path=folder, include_defaults=with_defaults)
    if path.is_file():
        # lm-eval keeps the first of two files with one name; the user named this one.
        config = load_yaml(path, resolve_func=False)
        name = name_of(config)
        manager.task_index[name] = Entry(name, TaskIndex._kind_of(config), path, config)
    return manager


def _leaves(index: Mapping[str, Entry], member: Any) -> Iterator[tuple[str, Config | None]]:
    """Names and configurations of the tasks in a task, group or tag; unknown tasks have None."""
    inline_config = member if isinstance(member, dict) else {}
    name = name_of(member)
    entry = index.get(name)
    config = inline_config if entry is None else entry.cfg or {}
    if entry is not None and entry.kind is Kind.TAG:
        for tagged_task in sorted(entry.tags):
            yield from _leaves(index, tagged_task)
    elif members(config):
        for child in members(config):
            yield from _leaves(index, child)
    elif entry is not None or {"dataset_path", "custom_dataset"} & inline_config.keys():
        yield name, config
    else:
        yield name, None


def _unknown_tasks(names: Sequence[str], index: Mapping[str, Entry]) -> list[str]:
    return [leaf for name in names for leaf, config in _leaves(index, name) if config is None]


def _require_sandbox(
    names: Sequence[str], index: Mapping[str, Entry], path: Path, *, run_generated_code: bool
) -> None:
    """Refuse tasks that run generated code without permission or outside the sandbox.

    Only files are read, since loading lm-eval's code tasks downloads and imports code.
    """
    problems: list[Problem] = []
    runs_code = False
    for name in names:
        for leaf, config in _leaves(index, name):
            in_sandbox = programs.__name__ in str((config or {}).get("metric_list"))
            if not in_sandbox and (config or {}).get("unsafe_code"):
                what = f"{leaf} would run generated code outside the sandbox"
                problems.append(Problem(what, "Its metric is not sweeper's.", _SANDBOX_FIX))
            runs_code = runs_code or in_sandbox
    if runs_code and not run_generated_code:
        what = "this suite runs code that a model wrote, which needs permission"
        why = "Nobody has checked this code. It runs on this machine, with limits."
        fix = "Allow it with --run-generated-code, or leave its code tasks out."
        problems.append(Problem(what, why, fix))
    elif runs_code and (problem := refusal()) is not None:
        problems.append(problem)
    if problems:
        raise SpecError([replace(problem, where=str(path)) for problem in problems])


def _load_tasks(
    name: str, manager: TaskManager, folder: Path, cache: Path, *, separate: bool
) -> list[tuple[str, dict[str, Task]]]:
    """Names with their loaded tasks: one for a group, or one for each member if ``separate``."""
    try:
        for entry in manager.task_index.values():
            if entry.yaml_path is not None and entry.yaml_path.is_relative_to(folder):
                _read_data_in_place(entry, cache)
        with bounded(f"loading {name}", str(folder), MAX_LOADING_SECONDS):
            loaded = manager.load([name])
    except UsageError:
        raise
    except OSError as error:  # also what datasets and the hub's client raise without a network
        raise DataError(
            f"the data of {name} cannot be read",
            why=str(error).splitlines()[0],
            fix="Data on the hub needs a network once. Paths in data_files are relative to the "
            "task file.",
            where=str(folder),
        ) from error
    except Exception as error:  # a task file may name any function
        what = f"lm-eval cannot load {name}"
        raise SpecError(what, _error_text(error), where=str(folder)) from error
    if not loaded["groups"]:
        return [(child, {child: task}) for child, task in loaded["tasks"].items()]
    if not separate:
        return [(name, loaded["tasks"])]
    entries = []
    for child in loaded["group_map"][name]:
        group = loaded["groups"].get(child)
        tasks = group.get_all_tasks() if group else [loaded["tasks"][child]]
        entries.append((child, {task.task_name: task for task in tasks}))
    return entries


def _read_data_in_place(entry: Entry, cache: Path) -> None:
    """Let lm-eval read local data files without a copy in the hub's cache."""
    if "data_files" not in str(entry.cfg):
        return
    assert entry.yaml_path is not None
    config = load_yaml(entry.yaml_path)
    for task in [config, *(m for m in members(config) if isinstance(m, dict))]:
        options = task.get("dataset_kwargs") or {}
        if "data_files" in options:
            files = _absolute_paths(options["data_files"], entry.yaml_path.parent)
            task["dataset_kwargs"] = {"cache_dir": str(cache), **options, "data_files": files}
    entry.cfg, entry.yaml_path = config, None


def _absolute_paths(files: Any, folder: Path) -> Any:
    if isinstance(files, dict):
        return {split: _absolute_paths(part, folder) for split, part in files.items()}
    if isinstance(files, list):
        return [_absolute_paths(part, folder) for part in files]
    return files if "://" in str(files) else str(folder / str(files))


def _prepared_task(name: str, loaded: Mapping[str, tuple[Task, str]]) -> SuiteTask:
    """A task or group with its items, after every request has been built once.

    Args:
        loaded: lm-eval's task objects by name, each with the path of its file.
    """
    rows: dict[str, list[int]] = {}
    content: list[Any] = [harness()]
    total, chat = 0, False
    for task_name, (task, where) in loaded.items():
        options = task.config.metadata or {}
        limit = options.get("limit")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            fix = "Write a number of items, as in 'metadata: {limit: 100}'."
            raise SpecError(f"limit = {limit!r} of {task_name} is not valid", fix=fix, where=where)
        if task.config.num_fewshot is None:
            task.set_config(key="num_fewshot", value=0)
        docs = list(task.eval_docs)
        rows[task_name], item_count = _choose_rows(docs, limit)
        total, chat = total + item_count, chat or bool(options.get("apply_chat_template"))
        bound_patterns(task_name, task, where)
        if problems := _template_problems(task_name, task, docs, rows[task_name], where):
            raise DataError(problems[:_MAX_PROBLEMS])
        task.set_fewshot_seed(0)
        try:
            task.build_all_requests(samples=rows[task_name])
        except Exception as error:  # a sampler may raise anything
            what, why = f"the requests of {task_name} cannot be built", _error_text(error)
            raise DataError(what, why, where=where) from error
        keys = ("output_type", "metric_list", "filter_list", "process_results", "repeats")
        content += [task_name, chat, [task.config[key] for key in keys]]
        content += [instance.args for instance in task.instances]
        content += [task.doc_to_target(docs[row]) for row in rows[task_name]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=_source).encode())
    tasks = {task_name: task for task_name, (task, _) in loaded.items()}
    return SuiteTask(name, tasks, rows, total, chat, digest.hexdigest()[:16])


def _choose_rows(docs: Sequence[Doc], limit: int | None) -> tuple[list[int], int]:
    """Choose rows by a hash of their content, since files are often sorted by subject.

    Returns:
        Ascending indexes of at most ``limit`` rows, and the number of different rows.
    """
    row_by_key: dict[str, int] = {}
    for row, doc in enumerate(docs):
        row_by_key.setdefault(_key(doc), row)
    return sorted(row_by_key[key] for key in sorted(row_by_key)[:limit]), len(row_by_key)


def _key(doc: Doc) -> str:
    """A hash of an item's content."""
    content = json.dumps(doc, sort_keys=True, default=handle_non_serializable)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _source(value: Any) -> str:
    """The source of a function in a task file, without its path."""
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return repr(value)


def _template_problems(
    name: str, task: Task, docs: Sequence[Doc], rows: Sequence[int], where: str
) -> list[Problem]:
    """Problems of rows for which the task's templates fail or no answer can be right."""
    problems = []
    for row in rows:
        with bounded(f"row {row + 1} of {name}", where):
            try:
                task.doc_to_text(docs[row])
                why = _wrong_answer(task, docs[row])
            except Exception as error:  # noqa: BLE001 - a template may call anything
                why = _error_text(error)
        if why:
            what = f"row {row + 1} of {name} does not fit the task's templates"
            problems.append(Problem(what, why, where=where))
    return problems


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _wrong_answer(task: Task, doc: Doc) -> str:
    """Why lm-eval would count every answer to an item as wrong; empty if it would not."""
    target = task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "loglikelihood_rolling" and not target:
        return "The text is empty."
    if task.OUTPUT_TYPE != "multiple_choice" or task.multiple_input or isinstance(target, list):
        return ""
    choices = task.doc_to_choice(doc)
    if target in (choices if isinstance(target, str) else range(len(choices))):
        return ""
    return f"The answer {target!r} is neither one of the choices nor the index of one from 0."


def score(model: HFLM, task: SuiteTask) -> TaskScores:
    """Score a model on a task or a group, with the items in the same order for every model.

    Raises:
        UsageError: The task has no metric from 0 to 1 for single items, higher is better.
    """
    for member in task.tasks.values():
        member.set_fewshot_seed(0)  # the same solved examples for every model
    results = evaluate(
        lm=model,
        task_dict={"tasks": dict(task.tasks), "groups": {}},
        samples=dict(task.rows),
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=task.apply_chat_template,
        fewshot_as_multiturn=task.apply_chat_template,
        confirm_run_unsafe_code=True,  # load_suite refuses code outside the sandbox
    )
    samples: list[Mapping[str, Any]] = []
    for name in sorted(task.tasks):
        # Some tasks read an output with several filters: the first is the strict one.
        filter_name = results["samples"][name][0]["filter"]
        samples += [
            sample for sample in results["samples"][name] if sample["filter"] == filter_name
        ]
    unit: Unit = "points"
    weights: tuple[float, ...] = ()
    if task.reads_text:
        tokens = [len(model.tok_encode(sample["arguments"][0][0])) for sample in samples]
        scores = [-s["resps"][0][0] / count for s, count in zip(samples, tokens, strict=True)]
        metric, unit, weights = "loss", "nats/token", tuple(map(float, tokens))
    else:
        metric = _metric(task, samples)
        scores = [float(sample[metric]) for sample in samples]
    return TaskScores(
        task=task.name,
        digest=task.digest,
        kind=task.kind,
        metric=metric,
        unit=unit,
        higher_is_better=unit == "points",
        shots=task.shots,
        total_items=task.total,
        keys=tuple(_key(sample["doc"]) for sample in samples),
        scores=tuple(scores),
        weights=weights,
        harness=harness(),
    )


def _metric(task: SuiteTask, samples: Sequence[Mapping[str, Any]]) -> str:
    directions = [
        item for member in task.tasks.values() for item in member.higher_is_better().items()
    ]
    lower_is_better = {metric for metric, higher in directions if not higher}
    metric: str
    for metric in (*_METRICS, *samples[0]["metrics"]):
        if metric not in lower_is_better and all(
            _is_share(sample.get(metric)) for sample in samples
        ):
            return metric
    raise UsageError(
        f"{task.name} has no score of single items",
        why=f"It has {', '.join(samples[0]['metrics'])}; a score is from 0 to 1, higher is better.",
        fix="For the loss on text, use 'output_type: loglikelihood_rolling'.",
    )


def _is_share(value: Any) -> bool:
    try:
        return 0 <= float(value) <= 1
    except (TypeError, ValueError):
        return False


class _TooLong(BaseException):
    """The time limit is exceeded. No ``Exception``, since task files and lm-eval catch those."""


@contextmanager
def bounded(what: str, where: str, max_seconds: float | None = None) -> Iterator[None]:
    """Limit the processor time of a block in the main thread, by a signal.

    ``re`` handles signals while it matches. Timeouts of lm-eval's tasks use another signal.

    Args:
        max_seconds: The limit; ``MAX_SECONDS`` if None.

    Raises:
        UsageError: The block took longer.
    """

    def stop(*_: object) -> NoReturn:
        raise _TooLong

    limit = max_seconds or MAX_SECONDS
    previous_handler = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit, limit)
    try:
        yield
    except _TooLong as error:
        raise UsageError(
            f"{what} took longer than {limit:g} s",
            why="A template or a pattern of it is slow.",
            fix="Rewrite a pattern that has a repeat inside a repeat, such as (a+)+.",
            where=where,
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous_handler)


def bound_patterns(name: str, task: Any, where: str) -> None:
    """Check the patterns of a task's filters and metrics, and limit the time of each use.

    Args:
        task: lm-eval's task object; changed in place.

    Raises:
        SpecError: A pattern or an option of a filter is not valid.
    """
    uses = [
        (
            f"the filter {task_filter.name!r} of {name}",
            task_filter.filters,
            [m.keywords for m in task_filter.filters],
        )
        for task_filter in task._filters
    ]
    uses.append((f"the metrics of {name}", [], task.config.metric_list or []))
    for what, filters, options in uses:
        try:
            for make in filters:
                make()
            for option in options:
                for pattern in (option.get("regex_pattern"), *option.get("regexes_to_ignore", ())):
                    re.compile(pattern or "")
        except (re.error, RecursionError, OverflowError, TypeError, ValueError) as error:
            raise SpecError(f"{what}: not valid", why=str(error), where=where) from error
    for task_filter, (what, *_) in zip(task._filters, uses, strict=False):
        task_filter.apply = bounded(what, where)(task_filter.apply)
    task.process_results = bounded(uses[-1][0], where)(task.process_results)
