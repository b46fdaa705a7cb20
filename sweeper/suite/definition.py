"""What a suite asks: a YAML file with a few lines for each task of general capability.

Knows the file and its mistakes; knows nothing of models or of how a task is scored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from sweeper.artifact import Record
from sweeper.errors import Problem, SpecError, near_match
from sweeper.spec import PositiveInt
from sweeper.yamlfile import Document, read

Kind = Literal["multiple-choice", "generation", "code", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Which columns a kind of task reads; a role that is not mapped is a column of that name.
ROLES: dict[Kind, tuple[str, ...]] = {
    "multiple-choice": ("question", "choices", "answer"),
    "generation": ("question", "answer"),
    "code": ("prompt", "tests"),
    "text": ("text",),
}


class SuiteTask(Record):
    """One task: a local file and what its columns mean, or the name of a task of lm-eval.

    Args:
        file: JSONL, JSON, CSV, TSV, Parquet or text; relative to the suite's own folder.
        kind: How a local file is scored.
        lm_eval: Name of a task or group of lm-eval, in place of ``file``.
        columns: Role to column; ``choices`` may be a list of columns, one for each choice.
        prompt: Text before the answer, with ``{column}`` for what a row holds there, and
            ``{options}`` for the lettered choices.
        letters: Multiple choice: score the letters A, B, ... and not the choices' texts.
        fewshot: Solved examples before each item.
        fewshot_file: Where these come from; rows that are not scored if None.
        limit: Score so many items only; which ones depends on their content alone.
        answer_pattern: Generation: a regular expression whose last match (its first group, if it
            has one) is the answer within a reference.
        output_pattern: The same within what the model wrote; ``answer_pattern`` if None.
        stop: Texts that end an output.
        max_new_tokens: The longest output.
        call: Code: what follows the tests, with ``{column}``; HumanEval's ``check({entry_point})``.
    """

    file: str | None = None
    kind: Kind | None = None
    lm_eval: str | None = None
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    prompt: str | None = None
    letters: bool = False
    fewshot: int = Field(0, ge=0)
    fewshot_file: str | None = None
    limit: PositiveInt | None = None
    answer_pattern: str | None = None
    output_pattern: str | None = None
    stop: tuple[str, ...] = ()
    max_new_tokens: PositiveInt = 256
    call: str | None = None

    def column(self, role: str) -> str | tuple[str, ...]:
        """The column, or the columns, that play a role."""
        return self.columns.get(role, role)


class Suite(Record):
    """Tasks by name, in their order. ``folder`` is what their files are relative to."""

    folder: str
    chat_template: bool = False
    tasks: dict[str, SuiteTask]


class _File(Record):
    chat_template: bool = False
    tasks: dict[str, SuiteTask] = Field(min_length=1)


def read_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        UsageError: The file cannot be read or is not YAML.
        SpecError: With every mistake in it, each with its line.
    """
    document = read(path)
    problems = list(document.problems)
    try:
        content = _File.model_validate(document.data)
    except ValidationError as error:
        problems += [_problem(item, document) for item in error.errors()]
        raise SpecError(list(dict.fromkeys(problems))) from error
    for name, task in content.tasks.items():
        problems += _mistakes(name, task, document)
    if problems:
        raise SpecError(problems)
    folder = str(path.resolve().parent)
    return Suite(folder=folder, chat_template=content.chat_template, tasks=content.tasks)


def _problem(item: Any, document: Document) -> Problem:
    where = document.where(tuple(item["loc"]))
    key = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        owner = SuiteTask if len(item["loc"]) > 1 else _File
        fix = near_match(key, owner.model_fields)
        return Problem(f"there is no key {key!r} here", fix=fix, where=where)
    if item["type"] == "literal_error":
        fix = near_match(str(item["input"]), KINDS)
        return Problem(f"{key} = {item['input']!r} is not known", fix=fix, where=where)
    if not item["loc"] or item["type"] in ("missing", "model_type"):
        fix = "Write 'tasks:' and under it a name and a few lines for each task."
        return Problem("this is not a suite of tasks", fix=fix, where=where)
    return Problem(f"{key} = {item['input']!r}", str(item["msg"]), where=where)


def _mistakes(name: str, task: SuiteTask, document: Document) -> list[Problem]:
    """What types alone do not show."""
    found: list[Problem] = []

    def bad(what: str, fix: str, key: str = "") -> None:
        path = ("tasks", name, key) if key else ("tasks", name)
        found.append(Problem(what, fix=fix, where=document.where(path)))

    if (task.file is None) == (task.lm_eval is None):
        bad(
            f"{name} needs one source",
            "Give it 'file: PATH' and 'kind:', or 'lm_eval: NAME', not both.",
        )
        return found
    if task.lm_eval is not None:
        given = task.model_fields_set - {"lm_eval", "limit", "fewshot"}
        for key in sorted(given):
            fix = "A task of lm-eval brings this itself; remove the key."
            bad(f"{key} does not go with lm_eval", fix, key)
        return found
    if task.kind is None:
        bad(f"{name} has a file but no kind", f"Add 'kind:', one of {', '.join(KINDS)}.")
        return found
    for role in task.columns:
        if role not in ROLES[task.kind]:
            bad(f"{task.kind} has no role {role!r}", near_match(role, ROLES[task.kind]), "columns")
    for key in ("answer_pattern", "output_pattern"):
        pattern = getattr(task, key)
        if pattern is not None and (why := _not_a_pattern(pattern)):
            bad(f"{key} is not a regular expression: {why}", "See Python's re module.", key)
    if task.kind in ("text", "code") and task.fewshot:
        bad(f"{task.kind} takes no solved examples", "Remove 'fewshot'.", "fewshot")
    return found


def _not_a_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""
