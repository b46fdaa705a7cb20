"""From the rows of a local file to the items of a task: prompt, choices, answer, tests.

Knows columns and templates; every row that does not hold what its kind needs is named. Knows
nothing of models or of how an item is scored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.data.read import read
from sweeper.data.table import Fields, Table
from sweeper.errors import DataError, Problem, near_match
from sweeper.suite.definition import ROLES, Kind, Suite, SuiteTask

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PROMPTS: dict[Kind, str] = {
    "multiple-choice": "Question: {question}\nAnswer:",
    "generation": "Question: {question}\nAnswer:",
    "code": "{prompt}",
    "text": "",
}
_LETTERED = "{question}\n{options}\nAnswer:"
_FIELD = re.compile(r"\{(\w+)\}")
# More than this would hide the first; a file that is read wrongly has as many as rows.
_MOST_PROBLEMS = 5

Doc = dict[str, Any]


class _Unfit(Exception):
    """A row does not hold what is needed; the text says what."""


@dataclass(frozen=True)
class SuiteItems:
    """The items of a task, ready to be asked.

    Args:
        docs: Those that are scored, in the file's order. Each has ``key`` and ``prompt``, and as
            its kind needs ``choices`` and ``answer`` (an index), ``answer`` (text), ``tests``
            (programs), ``text``.
        shots: Solved examples.
        total: How many items the file has.
    """

    docs: tuple[Doc, ...]
    shots: tuple[Doc, ...]
    total: int


def load_items(suite: Suite, name: str) -> SuiteItems:
    """The items of one task that has a local file.

    Raises:
        DataError: The file cannot be read, or rows do not hold what the kind needs.
    """
    task = suite.tasks[name]
    assert task.file is not None
    docs = _docs(task, Path(suite.folder, task.file))
    chosen = _chosen(docs, task.limit or len(docs))
    if task.fewshot == 0:
        return SuiteItems(tuple(chosen), (), len(docs))
    if task.fewshot_file is not None:
        others = _docs(task, Path(suite.folder, task.fewshot_file))
    else:
        scored = {doc["key"] for doc in chosen}
        others = [doc for doc in docs if doc["key"] not in scored]
    if len(others) < task.fewshot:
        raise DataError(
            f"{name} asks for {task.fewshot} solved examples, {len(others)} are left to take",
            fix="Name a fewshot_file, or lower limit or fewshot.",
            where=str(Path(suite.folder, task.fewshot_file or task.file)),
        )
    return SuiteItems(tuple(chosen), tuple(_chosen(others, task.fewshot)), len(docs))


def _chosen(docs: Sequence[Doc], count: int) -> list[Doc]:
    """So many items, by content and not by place: files are often sorted by subject."""
    keys = set(sorted(doc["key"] for doc in docs)[:count])
    return [doc for doc in docs if doc["key"] in keys]


def _docs(task: SuiteTask, path: Path) -> list[Doc]:
    assert task.kind is not None
    table = read(path)
    _require_columns(task, table)
    build = _BUILDERS[task.kind]
    docs: dict[str, Doc] = {}
    problems: list[Problem] = []
    for line, fields in table.rows:
        try:
            doc = build(task, fields)
        except _Unfit as unfit:
            problems.append(Problem(str(unfit), where=f"{path}:{line}"))
            continue
        content = json.dumps(doc, sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        docs.setdefault(key, {"key": key, **doc})  # the same item twice counts once
    if problems:
        raise DataError(problems[:_MOST_PROBLEMS])
    return list(docs.values())


def _require_columns(task: SuiteTask, table: Table) -> None:
    assert task.kind is not None
    wanted: list[str] = []
    for role in ROLES[task.kind]:
        column = task.column(role)
        wanted += [column] if isinstance(column, str) else column
    for template in (task.prompt, task.call):
        wanted += [name for name in _FIELD.findall(template or "") if name not in _known(task)]
    problems = [
        Problem(
            f"there is no column {column!r}",
            why=f"The columns are {', '.join(table.columns)}.",
            fix=near_match(column, table.columns)
            + " Map it in the suite: columns: {role: column}.",
            where=table.name,
        )
        for column in dict.fromkeys(wanted)
        if column not in table.columns
    ]
    if problems:
        raise DataError(problems)


def _known(task: SuiteTask) -> tuple[str, ...]:
    """Names that a template may use besides the file's columns."""
    assert task.kind is not None
    return ("options", *ROLES[task.kind])


def _multiple_choice(task: SuiteTask, fields: Fields) -> Doc:
    choices = _choices(task, fields)
    answer = _index(_cell(task, fields, "answer"), choices)
    options = "\n".join(f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
    template = task.prompt or (_LETTERED if task.letters else _PROMPTS["multiple-choice"])
    values = {"question": _text(task, fields, "question"), "options": options}
    shown = list(LETTERS[: len(choices)]) if task.letters else choices
    return {"prompt": _fill(template, values, fields), "choices": shown, "answer": answer}


def _generation(task: SuiteTask, fields: Fields) -> Doc:
    answer = _text(task, fields, "answer")
    if task.answer_pattern and extract(task.answer_pattern, answer) is None:
        raise _Unfit(f"answer_pattern does not match the answer {answer[:60]!r}")
    values = {"question": _text(task, fields, "question")}
    prompt = _fill(task.prompt or _PROMPTS["generation"], values, fields)
    return {"prompt": prompt, "answer": answer}


def _code(task: SuiteTask, fields: Fields) -> Doc:
    tests = _cell(task, fields, "tests")
    parts = [str(part) for part in tests] if isinstance(tests, list) else [str(tests)]
    if task.call:
        parts = [*parts, _fill(task.call, {}, fields)]
    values = {"prompt": _text(task, fields, "prompt")}
    prompt = _fill(task.prompt or _PROMPTS["code"], values, fields)
    # One text, since the parts of a test may need each other's names.
    return {"prompt": prompt, "program": values["prompt"], "tests": "\n".join(parts)}


def _plain_text(task: SuiteTask, fields: Fields) -> Doc:
    return {"prompt": "", "text": _text(task, fields, "text")}


_BUILDERS: Mapping[Kind, Callable[[SuiteTask, Fields], Doc]] = {
    "multiple-choice": _multiple_choice,
    "generation": _generation,
    "code": _code,
    "text": _plain_text,
}


def extract(pattern: str, text: str) -> str | None:
    """The last match of a pattern (its first group, if it has one), or None."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    last = matches[-1]
    return (last[1] if last.re.groups else last[0]) or ""


def _cell(task: SuiteTask, fields: Fields, role: str) -> object:
    value = fields.get(str(task.column(role)))
    if value is None or value == "":
        raise _Unfit(f"column {task.column(role)!r} ({role}) is empty")
    return value


def _text(task: SuiteTask, fields: Fields, role: str) -> str:
    value = _cell(task, fields, role)
    if isinstance(value, list):
        return "\n".join(str(part) for part in value)
    return str(value)


def _choices(task: SuiteTask, fields: Fields) -> list[str]:
    column = task.column("choices")
    if isinstance(column, tuple):
        found = [fields.get(name) for name in column]
    else:
        value = fields.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:  # a list within a CSV cell
                value = json.loads(value)
            except ValueError as error:
                raise _Unfit(f"column {column!r} does not hold a list in JSON") from error
        found = value if isinstance(value, list) else []
    choices = [str(choice) for choice in found if choice is not None and choice != ""]
    if not 2 <= len(choices) <= len(LETTERS):
        raise _Unfit(f"column {column!r} (choices) does not hold a list of choices")
    return choices


def _index(answer: object, choices: Sequence[str]) -> int:
    """Which choice is right: by number from 0, by its text, or by its letter."""
    text = str(answer).strip()
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    if not is_number and text in choices:
        return choices.index(text)
    if not is_number and len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(text.upper())
    if re.fullmatch(r"\d+(\.0+)?", text) and int(float(text)) < len(choices):
        return int(float(text))
    raise _Unfit(f"the answer {text[:60]!r} is neither a choice nor a letter nor a number from 0")


def _fill(template: str, values: Mapping[str, str], fields: Fields) -> str:
    """A template with its ``{names}`` replaced; other braces stay as they are."""

    def put(match: re.Match[str]) -> str:
        name = match[1]
        return values[name] if name in values else str(fields.get(name, match[0]))

    return _FIELD.sub(put, template)
