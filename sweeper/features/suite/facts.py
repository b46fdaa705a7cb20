"""Sizes of the suite's tasks: estimated from their files, or measured by lm-eval before a run.

The estimate does not load lm-eval, which takes seconds, and renders no template. Sizes of lm-eval's
own tasks and of data on the hub stay unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sweeper import yamlfile
from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.errors import DataError, Problem, SpecError, UsageError
from sweeper.facts.record import Facts
from sweeper.features.suite.options import Options
from sweeper.spec import Spec
from sweeper.textfiles import read_text


class SuiteTaskFacts(Record):
    """Items, prompts and outputs of one task of a suite.

    Args:
        name: Name of the task, or of a group whose members are not known.
        output_type: Name in lm-eval (``multiple_choice``, ...); empty if unknown.
        items: Number of scored items; None if unknown.
        limit: Maximum number of items of each member of a group; None if there is no limit.
        prompt_tokens: Mean prompt tokens of a request, solved examples included; None if unknown.
        requests: Forward passes for each item on average; None if unknown.
        shots: Solved examples before each item.
        max_new_tokens: Tokens of the longest output; 0 if nothing is generated.
    """

    name: str
    output_type: str = ""
    items: int | None = None
    limit: int | None = None
    prompt_tokens: float | None = None
    requests: float | None = None
    shots: int = 0
    max_new_tokens: int = 0


class SuiteFacts(Record):
    """The suite that base models and finalists are scored on.

    ``measured_with`` says what read the tasks: lm-eval, which knows all sizes, or their files.
    """

    tasks: tuple[SuiteTaskFacts, ...]
    measured_with: Literal["lm-eval", "task files"]


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> SuiteFacts | None:
    """The suite's tasks, loaded by lm-eval before a run, or read from their files for a plan.

    None without a suite.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    path = spec.features.of(Options).path
    if path is None:
        return None
    from sweeper.features.suite._scoring import check_suite
    from sweeper.metrics.programs import samples

    if for_run:
        return check_suite(Path(path), run_generated_code=samples(spec) > 0)
    return suite_facts(Path(path))


# lm-eval's defaults.
MAX_GEN_TOKS, _OUTPUT_TYPE = 256, "generate_until"
GUIDE = "docs/forgetting.md shows how a suite is written."
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)

Config = Mapping[str, Any]


def suite_facts(path: Path) -> SuiteFacts:
    """The tasks of a suite, as far as known from its files.

    Args:
        path: A folder of lm-eval's task files, or one such file.

    Raises:
        UsageError: There is no such suite, it holds no tasks, or a file is not YAML.
    """
    path = path.resolve()
    files = available = suite_files(path)
    if path.is_file() and any(map(members, files.values())):
        # lm-eval finds the members of a group in its folder, too.
        available = files | suite_files(path.parent)
    by_name: dict[str, tuple[Path, Config]] = {}
    for file, config in available.items():
        by_name.setdefault(name_of(config), (file.parent, config))
    tasks = [task for name in top_names(files) for task in _tasks(name, by_name, frozenset())]
    return SuiteFacts(tasks=tuple(tasks), measured_with="task files")


def suite_files(path: Path) -> dict[Path, Config]:
    """The files of tasks and groups in a suite.

    Raises:
        UsageError: There is no such suite, it holds no tasks, or files are not YAML.
    """
    if not path.exists():
        raise UsageError("there is no such suite", fix=GUIDE, where=str(path), code="no-suite")
    files: dict[Path, Config] = {}
    problems: list[Problem] = []
    for file in [path] if path.is_file() else sorted(path.rglob("*.yaml")):
        try:
            config = _task_file(file)
        except UsageError as error:
            problems += [replace(problem, fix=GUIDE) for problem in error.problems]
            continue
        if "task" in config or "group" in config:
            files[file] = config
    if problems:
        raise SpecError(problems)
    if not files:
        raise SpecError("there are no task files here", fix=GUIDE, where=str(path), code="no-suite")
    return files


def top_names(files: Mapping[Path, Config]) -> list[str]:
    """The names of tasks and groups, without those that are members of groups."""
    member_names = {name_of(m) for config in files.values() for m in members(config)}
    names = dict.fromkeys(map(name_of, files.values()))
    return [name for name in names if name not in member_names]


def _task_file(path: Path, seen: frozenset[Path] = frozenset()) -> Config:
    """The content of a task file and its included files, with None for functions."""
    content = yamlfile.read(path).data
    config = content if isinstance(content, dict) else {}
    for name in _names_in(config.get("include")):
        included = path.parent / name
        if included.is_file() and included not in seen:
            config = {**_task_file(included, seen | {path}), **config}
    return config


def name_of(member: Any) -> str:
    """The name of a task or group, or of a group's member."""
    if not isinstance(member, dict):
        return str(member)
    return str(member.get("group") or member.get("task"))


def members(config: Config) -> list[Any]:
    """The members of a group; empty for a task."""
    listed = config.get("task")
    return listed if isinstance(listed, list) else []


def _tasks(
    member: Any, available: Mapping[str, tuple[Path, Config]], parents: frozenset[str]
) -> Iterator[SuiteTaskFacts]:
    """The tasks of a task or group. A group within itself is not expanded again."""
    name, options = name_of(member), member if isinstance(member, dict) else {}
    folder, config = available.get(name, (Path(), {}))
    config = {**config, **options}
    group_members = members(config)
    if group_members and name not in parents:
        for child in group_members:
            yield from _tasks(child, available, parents | {name})
    elif {"dataset_path", "custom_dataset"} & config.keys():
        yield _task(name, config, folder)
    else:
        yield _lm_eval_task(name, config)


def _lm_eval_task(name: str, config: Config) -> SuiteTaskFacts:
    """A task or group of lm-eval, of which only the options in the suite are known."""
    limit = _count(_mapping(config, "metadata").get("limit"))
    shots = _count(config.get("num_fewshot")) or 0
    is_task = "group" not in config
    return SuiteTaskFacts(name=name, items=limit if is_task else None, limit=limit, shots=shots)


def _task(name: str, config: Config, folder: Path) -> SuiteTaskFacts:
    from sweeper.facts.dataset.lengths import BYTES_PER_TOKEN  # most plans read no suite

    kind = str(config.get("output_type") or _OUTPUT_TYPE)
    limit = _count(_mapping(config, "metadata").get("limit"))
    shots = _count(config.get("num_fewshot")) or 0
    options = _mapping(config, "generation_kwargs")
    generates = kind == "generate_until"
    # Equal rows count once.
    rows = {json.dumps(row, sort_keys=True, default=str): row for row in _rows(config, folder)}
    items, prompt = limit, None
    if rows:
        items = min(limit or len(rows), len(rows))
        size = sum(_bytes(row) for row in rows.values()) / len(rows)
        # The constant text of the prompt's template.
        if isinstance(text := config.get("doc_to_text"), str) and "{" in text:
            size += len(_TEMPLATE.sub("", text).encode())
        prompt = round(size * (1 + shots) / BYTES_PER_TOKEN, 1)
    return SuiteTaskFacts(
        name=name,
        output_type=kind,
        items=items,
        limit=limit,
        prompt_tokens=prompt,
        requests=_requests(kind, config, next(iter(rows.values()), {})),
        shots=shots,
        max_new_tokens=_count(options.get("max_gen_toks")) or MAX_GEN_TOKS if generates else 0,
    )


def _rows(config: Config, folder: Path) -> list[Mapping[str, object]]:
    """The rows of the scored split; empty if they are not on this machine."""
    from sweeper.data.reading.read import read

    files = _mapping(config, "dataset_kwargs").get("data_files")
    split = str(config.get("test_split") or config.get("validation_split") or "train")
    rows: list[Mapping[str, object]] = []
    for name in _names_in(files.get(split) if isinstance(files, dict) else files):
        path = folder / name
        try:
            if config.get("dataset_path") == "text":
                lines = read_text(path).splitlines()
                rows += [{"text": line} for line in lines]
            else:
                rows += [row for _, row in read(path).rows]
        except (DataError, OSError, UnicodeDecodeError):
            return []  # lm-eval reports the problem
    return rows


def _requests(kind: str, config: Config, row: Mapping[str, object]) -> int | None:
    """Forward passes for an item: one, or one per choice if any is longer than a token.

    None if the choices are not known.
    """
    if kind != "multiple_choice":
        return 1
    choices = config.get("doc_to_choice")
    if isinstance(choices, str):
        choices = row.get(choices.strip("{} "))
    if not isinstance(choices, list) or not choices:
        return None
    # A space and one character are one token.
    return 1 if all(len(str(choice)) <= 1 for choice in choices) else len(choices)


def _bytes(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list):
        return sum(map(_bytes, value))
    return len(value.encode()) if isinstance(value, str) else 0


def _mapping(config: Config, key: str) -> Config:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _names_in(value: object) -> list[str]:
    """A list of one or several names; empty for other values."""
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str)]


def _count(value: object) -> int | None:
    """A positive integer; None for other values."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
