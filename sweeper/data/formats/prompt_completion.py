"""Prompts with their completions: questions, translations, and code with tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from sweeper.data.examples import Example, Message
from sweeper.data.formats.row_format import RawRow, RoleChecks, RowFormat, Shape, is_text
from sweeper.data.formats.turns import (
    CODE_TESTS,
    SYSTEM,
    TOOLS,
    answered_example,
    conversation_example,
    is_answer,
    is_anything,
    is_turns,
    system_message,
    turns_of,
)
from sweeper.data.table import Fields

_COLUMN_PAIRS = (
    ("prompt", "completion response canonical_solution code solution output answer"),
    ("input", "output"),
    ("question", "answer response answers"),
    ("inputs", "targets"),
    ("source", "target"),
    ("query", "response answer"),
    ("docstring", "code"),
    ("text", "code"),
    ("dialogue", "summary"),
    ("article", "highlights summary"),
    ("document", "summary"),
    ("text", "summary"),
    ("problem", "solution"),
)
"""Column of the prompt, and possible columns of its completion."""

_PAIRS = [(prompt, name) for prompt, names in _COLUMN_PAIRS for name in names.split()]


class PromptCompletion(RowFormat):
    """A prompt and what follows it; either may be a list of turns (TRL)."""

    name = "prompt-completion"
    order = 30
    tasks = ("instruction", "code", "domain")
    columns = (
        "`prompt`/`completion`, `question`/`answer`, `text`/`code`, ...; "
        "optional `test_list`, `test` or `tests` with code"
    )
    shapes = tuple(
        Shape({"prompt": (prompt,), "completion": (completion,)}, {**CODE_TESTS, **SYSTEM, **TOOLS})
        for prompt, completion in _PAIRS
    )
    value_checks: ClassVar[RoleChecks] = {
        "prompt": lambda value: is_text(value) or is_turns(value),
        "completion": lambda value: is_answer(value) or is_turns(value),
        "tests": is_anything,
        "tools": is_anything,
    }

    def guessed_shape(
        self, sample: Sequence[Fields], present: Mapping[str, str], user_columns: Mapping[str, str]
    ) -> Shape | None:
        """The first of two columns as prompt, the second as completion, if both hold text."""
        columns = [column for column in reversed([*present.values()]) if _is_prose(sample, column)]
        known = {name for pair in _PAIRS for name in pair} | {"label", "input", "text"}
        if user_columns or len(present) != 2 or len(columns) != 2 or known & present.keys():
            return None
        return Shape({"prompt": (columns[0].lower(),), "completion": (columns[1].lower(),)})

    def example(self, row: RawRow) -> Example:
        prompt, completion = turns_of(row.value("prompt")), turns_of(row.value("completion"))
        if prompt is None and completion is None:
            messages = (*system_message(row), Message("user", row.required("prompt")))
            return answered_example(row, messages, "completion")
        turns = [
            *(prompt or [{"role": "user", "content": row.required("prompt")}]),
            *(completion or [{"role": "assistant", "content": row.required("completion")}]),
        ]
        return conversation_example(row, turns)


def _is_prose(sample: Sequence[Fields], column: str) -> bool:
    """Whether most cells are texts of more than one word that differ from row to row."""
    cells = [cell for fields in sample if isinstance(cell := fields.get(column), str)]
    cells_with_spaces = sum(" " in cell.strip() for cell in cells)
    return cells_with_spaces > len(sample) / 2 and len(set(cells)) > len(cells) / 2
