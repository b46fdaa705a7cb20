"""The tasks of a suite: lm-eval task files, checked before a model is loaded, and their scores.

Prompts, solved examples, filters and likelihoods are lm-eval's business. This module picks the
items by content, and refuses tasks that would run generated code outside the sandbox.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import logging
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml
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
from sweeper.features.suite._task_files import GUIDE, MAX_GEN_TOKS, members, name_of, task_file
from sweeper.features.suite.facts import SuiteTaskFacts
from sweeper.metrics import programs
from sweeper.metrics.programs import refusal

# One figure an item: the first of these that a task has, else its first one from 0 to 1.
_METRICS = ("acc_norm", "acc", "exact_match", "pass@1")
# A file that is read wrongly has as many mistakes as rows; more than this would hide the first.
_MOST_PROBLEMS = 5

_OUR_METRIC = (
    "Copy its file into the suite and score it by 'metric: !function "
    f"{programs.__name__}.pass_at_1'; examples/suites/local/code.yaml does."
)
Task = Any
"""lm-eval's tasks have no types."""
Config = dict[str, Any]
Doc = Mapping[str, Any]
MOST_SECONDS = 60
"""Of processor time, for one filter over all items or one item's metrics: lm-eval's own filters
take 0.1 s for 1,000 outputs (measured)."""
MOST_LOADING_SECONDS = 600
"""To load a task, its data included."""
_MOST_CHARACTERS = 300  # of patterns in a message


@dataclass(frozen=True)
class SuiteTask:
    """One task of lm-eval, or a group whose items count together.

    Args:
        tasks: lm-eval's task objects by name.
        rows: The rows of each task that are scored, in ascending order.
        total: How many different items the data has.
        apply_chat_template: Whether prompts go through the model's chat template.
        digest: A hash of what is asked, what is expected and how outputs are scored. Scores of
            equal digests are of the same task.
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
        """The number of requests for all items."""
        return sum(len(task.instances) for task in self.tasks.values())

    @property
    def kind(self) -> str:
        """The output type (``multiple_choice``, ...), or all of a group's."""
        return ", ".join(sorted({task.OUTPUT_TYPE for task in self.tasks.values()}))

    @property
    def reads_text(self) -> bool:
        """Whether it measures the loss on texts."""
        return self.kind == "loglikelihood_rolling"

    @property
    def shots(self) -> int | None:
        """Solved examples before each item; None where the tasks of a group differ."""
        counts = {task.config.num_fewshot for task in self.tasks.values()}
        return counts.pop() if len(counts) == 1 else None

    @property
    def max_new_tokens(self) -> int:
        """The longest output that it asks for; 0 if nothing is generated."""
        writing = [t.config for t in self.tasks.values() if t.OUTPUT_TYPE == "generate_until"]
        caps = (c.generation_kwargs.get("max_gen_toks", MAX_GEN_TOKS) for c in writing)
        return max(caps, default=0)

    def size(self) -> SuiteTaskFacts:
        """The estimated tokens of its requests, since there is no tokenizer."""
        passes = {_pass(instance) for task in self.tasks.values() for instance in task.instances}
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


def _pass(instance: Any) -> tuple[str, str]:
    """Prompt and output of one pass; short outputs share one, which has the logits of all."""
    prompt, *rest = instance.args
    output = rest[0] if rest and isinstance(rest[0], str) else ""
    return str(prompt), output if len(output.strip()) > 1 else ""


def load_suite(path: Path, *, run_generated_code: bool, cache: Path) -> list[SuiteTask]:
    """The tasks of a suite, with their templates tried on every item that will be scored.

    Args:
        path: A folder of task files; or one file, which describes a task or a group.
        cache: Where lm-eval's copies of local data files go.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    path = path.resolve()
    files = _files(path)
    index = _index(path, files, with_defaults=False)
    names = _names(path, files)
    if _unknown(names, index.task_index):
        index = _index(path, files, with_defaults=True)
        if unknown := _unknown(names, index.task_index):
            fix = near_match(unknown[0], index.all_tasks)
            fix = fix if fix.startswith("Did") else "See 'lm-eval ls tasks'."
            raise SpecError(f"there is no task {unknown[0]!r}", fix=fix, where=str(path))
    _require_sandbox(names, index.task_index, path, run_generated_code=run_generated_code)
    folder = path if path.is_dir() else path.parent
    places = {name: entry.yaml_path for name, entry in index.task_index.items()}

    def file_of(*names: str) -> str:
        return str(next((file for name in names if (file := places.get(name))), path))

    return [
        _prepared(child, {key: (task, file_of(key, child, name)) for key, task in tasks.items()})
        for name in names
        for child, tasks in _loaded(name, index, folder, cache, apart=path.is_file())
    ]


def _files(path: Path) -> dict[Path, Config]:
    """Every task or group file of the suite, as plain data."""
    if not path.exists():
        raise UsageError("there is no such suite", fix=GUIDE, where=str(path))
    files: dict[Path, Config] = {}
    problems: list[Problem] = []
    for file in [path] if path.is_file() else sorted(path.rglob("*.yaml")):
        try:
            task_file(file)  # refuses YAML that multiplies or never ends, also in what it includes
            content = load_yaml(file, resolve_func=False)
        except UsageError as error:
            problems += [replace(problem, fix=GUIDE) for problem in error.problems]
            continue
        except (yaml.YAMLError, ValueError, OSError) as error:
            problems.append(Problem("this is not a task file", str(error), GUIDE, str(file)))
            continue
        if "task" in content or "group" in content:
            files[file] = content
    if problems:
        raise SpecError(problems)
    if not files:
        raise SpecError("there are no task files here", fix=GUIDE, where=str(path))
    return files


def _index(path: Path, files: Mapping[Path, Config], *, with_defaults: bool) -> TaskManager:
    """Task files by name: the suite's, and lm-eval's own if asked for (it takes seconds)."""
    listed = any(members(config) for config in files.values())
    # Beside a single task nothing else is looked for: its folder may hold a whole project.
    folder = path if path.is_dir() else path.parent if listed else None
    manager = TaskManager(include_path=folder, include_defaults=with_defaults)
    for file, config in files.items() if path.is_file() else ():
        # Of two files that describe one name lm-eval keeps the first; the user named this one.
        kind = TaskIndex._kind_of(config)
        manager.task_index[name_of(config)] = Entry(name_of(config), kind, file, config)
    return manager


def _names(path: Path, files: Mapping[Path, Config]) -> list[str]:
    """What to load: the one file's task or group, or a folder's except for members of groups."""
    inner = {name_of(m) for config in files.values() for m in members(config)}
    return [name for config in files.values() if (name := name_of(config)) not in inner]


def _leaves(index: Mapping[str, Entry], member: Any) -> Iterator[tuple[str, Config | None]]:
    """The tasks below a name or a member of a group; without a description if unknown."""
    inline = member if isinstance(member, dict) else {}
    name = name_of(member)
    entry = index.get(name)
    config = inline if entry is None else entry.cfg or {}
    if entry is not None and entry.kind is Kind.TAG:
        for tagged in sorted(entry.tags):
            yield from _leaves(index, tagged)
    elif members(config):
        for child in members(config):
            yield from _leaves(index, child)
    elif entry is not None or {"dataset_path", "custom_dataset"} & inline.keys():
        yield name, config
    else:
        yield name, None


def _unknown(names: Sequence[str], index: Mapping[str, Entry]) -> list[str]:
    return [leaf for name in names for leaf, config in _leaves(index, name) if config is None]


def _require_sandbox(
    names: Sequence[str], index: Mapping[str, Entry], path: Path, *, run_generated_code: bool
) -> None:
    """Refuse tasks that run generated code without permission or outside the sandbox.

    It looks at files only: lm-eval's own code tasks download and import code when they are loaded.
    """
    problems: list[Problem] = []
    writing = False
    for name in names:
        for leaf, config in _leaves(index, name):
            ours = programs.__name__ in str((config or {}).get("metric_list"))
            if not ours and (config or {}).get("unsafe_code"):
                what = f"{leaf} would run generated code outside the sandbox"
                problems.append(Problem(what, "Its metric is not sweeper's.", _OUR_METRIC))
            writing = writing or ours
    if writing and not run_generated_code:
        what = "this suite runs code that a model wrote, which needs permission"
        why = "Nobody has checked this code. It runs on this machine, with limits."
        fix = "Allow it with --run-generated-code, or leave its code tasks out."
        problems.append(Problem(what, why, fix))
    elif writing and (refused := refusal()) is not None:
        problems.append(refused)
    if problems:
        raise SpecError([replace(problem, where=str(path)) for problem in problems])


def _loaded(
    name: str, manager: TaskManager, folder: Path, cache: Path, *, apart: bool
) -> list[tuple[str, dict[str, Task]]]:
    """The tasks of a name. The members of a group are one entry, or one each if ``apart``."""
    try:
        for entry in manager.task_index.values():
            if entry.yaml_path is not None and entry.yaml_path.is_relative_to(folder):
                _keep_data_here(entry, cache)
        why = "A template or its pattern is slow: lm-eval tries them on the first row."
        with bounded(f"loading {name}", why, str(folder), MOST_LOADING_SECONDS):
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
        raise SpecError(what, _raised(error), where=str(folder)) from error
    if not loaded["groups"]:
        return [(child, {child: task}) for child, task in loaded["tasks"].items()]
    if not apart:
        return [(name, loaded["tasks"])]
    entries = []
    for child in loaded["group_map"][name]:
        group = loaded["groups"].get(child)
        tasks = group.get_all_tasks() if group else [loaded["tasks"][child]]
        entries.append((child, {task.task_name: task for task in tasks}))
    return entries


def _keep_data_here(entry: Entry, cache: Path) -> None:
    """Read a task file's local data in place, without a copy in the hub's cache."""
    if "data_files" not in str(entry.cfg):
        return
    assert entry.yaml_path is not None
    config = load_yaml(entry.yaml_path)
    for task in [config, *(m for m in members(config) if isinstance(m, dict))]:
        options = task.get("dataset_kwargs") or {}
        if "data_files" in options:
            files = _absolute(options["data_files"], entry.yaml_path.parent)
            task["dataset_kwargs"] = {"cache_dir": str(cache), **options, "data_files": files}
    entry.cfg, entry.yaml_path = config, None


def _absolute(files: Any, folder: Path) -> Any:
    """``data_files`` with paths that do not depend on where the command was started."""
    if isinstance(files, dict):
        return {split: _absolute(part, folder) for split, part in files.items()}
    if isinstance(files, list):
        return [_absolute(part, folder) for part in files]
    return files if "://" in str(files) else str(folder / str(files))


def _prepared(name: str, loaded: Mapping[str, tuple[Task, str]]) -> SuiteTask:
    """A task or group with its items, after every request has been built once.

    Args:
        loaded: From names to lm-eval's task objects, each with its file.
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
        rows[task_name], different = _chosen(docs, limit)
        total, chat = total + different, chat or bool(options.get("apply_chat_template"))
        bound_patterns(task_name, task, where)
        if problems := _mistakes(task_name, task, docs, rows[task_name], where):
            raise DataError(problems[:_MOST_PROBLEMS])
        task.set_fewshot_seed(0)
        try:
            task.build_all_requests(samples=rows[task_name])
        except Exception as error:  # a sampler may raise anything
            what, why = f"the requests of {task_name} cannot be built", _raised(error)
            raise DataError(what, why, where=where) from error
        keys = ("output_type", "metric_list", "filter_list", "process_results", "repeats")
        content += [task_name, chat, [task.config[key] for key in keys]]
        content += [instance.args for instance in task.instances]
        content += [task.doc_to_target(docs[row]) for row in rows[task_name]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=_source).encode())
    tasks = {task_name: task for task_name, (task, _) in loaded.items()}
    return SuiteTask(name, tasks, rows, total, chat, digest.hexdigest()[:16])


def _chosen(docs: Sequence[Doc], limit: int | None) -> tuple[list[int], int]:
    """This many rows, chosen by content: files are often sorted by subject.

    Returns:
        The rows, and how many different items there are. The same item twice counts once.
    """
    places: dict[str, int] = {}
    for row, doc in enumerate(docs):
        places.setdefault(_key(doc), row)
    return sorted(places[key] for key in sorted(places)[:limit]), len(places)


def _key(doc: Doc) -> str:
    content = json.dumps(doc, sort_keys=True, default=handle_non_serializable)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _source(value: Any) -> str:
    """The source of a function in a task file, without its path."""
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return repr(value)


def _mistakes(
    name: str, task: Task, docs: Sequence[Doc], rows: Sequence[int], where: str
) -> list[Problem]:
    """Rows without the fields that the task's templates need."""
    problems = []
    for row in rows:
        with bounded(f"row {row + 1} of {name}", "A template or its pattern is slow.", where):
            try:
                task.doc_to_text(docs[row])
                why = _wrong_answer(task, docs[row])
            except Exception as error:  # noqa: BLE001 - a template may call anything
                why = _raised(error)
        if why:
            what = f"row {row + 1} of {name} does not fit the task's templates"
            problems.append(Problem(what, why, where=where))
    return problems


def _raised(error: Exception) -> str:
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
    """Score a model on a task, or on all items of a group together, in the same order for all.

    Raises:
        UsageError: The task has no figure of single items that is better when higher.
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
        confirm_run_unsafe_code=True,  # the suite was refused if it runs outside the sandbox
    )
    samples: list[Mapping[str, Any]] = []
    for name in sorted(task.tasks):
        # Some tasks read the same output in several ways: the first is the strict one.
        first = results["samples"][name][0]["filter"]
        samples += [sample for sample in results["samples"][name] if sample["filter"] == first]
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
    lower = {metric for metric, higher in directions if not higher}
    metric: str
    for metric in (*_METRICS, *samples[0]["metrics"]):
        if metric not in lower and all(_is_share(sample.get(metric)) for sample in samples):
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
    """Not an ``Exception``: task files and lm-eval catch those."""


@contextmanager
def bounded(what: str, why: str, where: str, most_seconds: float | None = None) -> Iterator[None]:
    """End a block of the main thread that takes too much processor time.

    ``re`` looks for signals while it matches. This one is counted in processor time, so that a
    busy machine ends nothing, and is not the one that timeouts of lm-eval's tasks use.

    Args:
        most_seconds: ``MOST_SECONDS`` if None.

    Raises:
        UsageError: It took longer.
    """

    def stop(*_: object) -> NoReturn:
        raise _TooLong

    most = most_seconds or MOST_SECONDS
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, most, most)
    try:
        yield
    except _TooLong as error:
        raise UsageError(
            f"{what} took longer than {most:g} s",
            why=why,
            fix="Rewrite a pattern that has a repeat inside a repeat, such as (a+)+.",
            where=where,
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def bound_patterns(name: str, task: Any, where: str) -> None:
    """Compile the patterns of a task's filters and metrics, and bound each use of them.

    Args:
        task: lm-eval's task object; changed in place.

    Raises:
        SpecError: One is no pattern, or a filter's options do not fit.
    """
    for ensemble in task._filters:
        what = f"the filter {ensemble.name!r} of {name}"
        options = [make.keywords for make in ensemble.filters]
        try:
            for make in ensemble.filters:
                make()
            patterns = [p for option in options for p in _compiled(option)]
        except (re.error, RecursionError, OverflowError, TypeError, ValueError) as error:
            raise SpecError(f"{what} is not valid", why=str(error), where=where) from error
        ensemble.apply = _bounded(ensemble.apply, what, patterns, where)
    what = f"the metrics of {name}"
    try:
        patterns = [p for option in task.config.metric_list or () for p in _compiled(option)]
    except (re.error, RecursionError, OverflowError, TypeError) as error:
        raise SpecError(f"{what} are not valid", why=str(error), where=where) from error
    task.process_results = _bounded(task.process_results, what, patterns, where)


def _compiled(options: dict[str, Any]) -> list[str]:
    """The patterns among the options of a filter or metric, as their file has them."""
    stated = [options.get("regex_pattern"), *(options.get("regexes_to_ignore") or ())]
    return [re.compile(pattern).pattern for pattern in stated if pattern is not None]


def _bounded(
    function: Callable[..., Any], what: str, patterns: list[str], where: str
) -> Callable[..., Any]:
    listed = ", ".join(map(repr, patterns))[:_MOST_CHARACTERS]
    why = f"Its patterns are {listed}." if patterns else "It has no pattern of its own."

    @functools.wraps(function)
    def within_time(*values: Any, **named: Any) -> Any:
        with bounded(what, why, where):
            return function(*values, **named)

    return within_time
