"""Sizes of a suite's tasks, read from their files without lm-eval, which takes seconds to load.

No template is rendered, and tasks of lm-eval and data on the hub stay unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper import yamlfile
from sweeper.data.reading.read import read
from sweeper.errors import DataError, SpecError, UsageError
from sweeper.facts.dataset.lengths import BYTES_PER_TOKEN
from sweeper.features.suite.facts import SuiteFacts, SuiteTaskFacts
from sweeper.textfile import read_text

# lm-eval's defaults.
MAX_GEN_TOKS, _OUTPUT_TYPE = 256, "generate_until"
GUIDE = "docs/forgetting.md shows how a suite is written."
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)

Config = Mapping[str, Any]


def suite_facts(path: Path) -> SuiteFacts:
    """The tasks of a suite, as far as known from its files.

    Args:
        path: A folder of lm-eval's task files, or one file that describes a task or a group.

    Raises:
        UsageError: There is no such suite, it holds no tasks, or a file is not YAML.
    """
    path = path.resolve()
    if not path.exists():
        raise UsageError("there is no such suite", fix=GUIDE, where=str(path), code="no-suite")
    suite_files = _task_files([path] if path.is_file() else sorted(path.rglob("*.yaml")))
    if not suite_files:
        raise SpecError("there are no task files here", fix=GUIDE, where=str(path), code="no-suite")
    available = suite_files
    if path.is_file() and any(members(config) for _, config in suite_files.values()):
        # lm-eval finds the members of a group in its folder, too.
        available = {**_task_files(sorted(path.parent.rglob("*.yaml"))), **suite_files}
    member_names = {name_of(m) for _, config in suite_files.values() for m in members(config)}
    tasks = [
        t
        for name in suite_files
        if name not in member_names
        for t in _tasks(name, available, frozenset())
    ]
    return SuiteFacts(tasks=tuple(tasks), measured_with="task files")


def _task_files(paths: Sequence[Path]) -> dict[str, tuple[Path, Config]]:
    """Tasks and groups by name, each with its file's folder."""
    files: dict[str, tuple[Path, Config]] = {}
    for path in paths:
        config = task_file(path)
        if "task" in config or "group" in config:
            files.setdefault(name_of(config), (path.parent, config))
    return files


def task_file(path: Path, seen: frozenset[Path] = frozenset()) -> Config:
    """The content of a task file and its included files, with None for functions."""
    content = yamlfile.read(path).data
    config = content if isinstance(content, dict) else {}
    for name in _listed(config.get("include")):
        included = path.parent / name
        if included.is_file() and included not in seen:
            config = {**task_file(included, seen | {path}), **config}
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
    """The tasks of a task, or of a group without one of its parents."""
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
    """The rows of the split that is scored, if they lie in files on this machine."""
    files = _mapping(config, "dataset_kwargs").get("data_files")
    split = str(config.get("test_split") or config.get("validation_split") or "train")
    rows: list[Mapping[str, object]] = []
    for name in _listed(files.get(split) if isinstance(files, dict) else files):
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
    """Forward passes for an item: one, or one for each choice if any is longer than a token."""
    if kind != "multiple_choice":
        return 1
    choices = config.get("doc_to_choice")
    if isinstance(choices, str):
        choices = row.get(choices.strip("{} "))
    if not isinstance(choices, list) or not choices:
        return None
    # A choice follows a space.
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


def _listed(value: object) -> list[str]:
    """A list of one or several names; empty for other values."""
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str)]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
