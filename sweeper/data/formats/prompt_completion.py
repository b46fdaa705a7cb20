"""Prompts with their completions: questions, translations, and code with tests."""

from __future__ import annotations

from typing import ClassVar

from sweeper.data.examples import Example, Message
from sweeper.data.formats.base import Kinds, RawRow, RowFormat, Shape
from sweeper.data.formats.turns import (
    SYSTEM,
    TESTS,
    answered,
    conversed,
    is_anything,
    is_text_or_turns,
    system_message,
    turns_of,
)

_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "canonical_solution"),
    ("prompt", "code"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("input", "output"),
    ("question", "answer"),
    ("question", "response"),
    ("source", "target"),
    ("query", "response"),
    ("query", "answer"),
    ("docstring", "code"),
    ("text", "code"),
)


class PromptCompletion(RowFormat):
    """A prompt and what follows it; either may be a list of turns (TRL)."""

    name = "prompt-completion"
    place = 30
    tasks = ("instruction", "code", "domain")
    columns = (
        "`prompt`/`completion`, `question`/`answer`, `text`/`code`, ...; "
        "optional `test_list` or `test` with code"
    )
    shapes = tuple(
        Shape({"prompt": (prompt,), "completion": (completion,)}, {**TESTS, **SYSTEM})
        for prompt, completion in _PAIRS
    )
    values: ClassVar[Kinds] = {
        "prompt": is_text_or_turns,
        "completion": is_text_or_turns,
        "tests": is_anything,
    }

    def example(self, row: RawRow) -> Example:
        """Two texts, or the turns of both."""
        prompt, completion = turns_of(row.value("prompt")), turns_of(row.value("completion"))
        if prompt is None and completion is None:
            asked = (*system_message(row), Message("user", row.required("prompt")))
            return answered(row, asked, "completion")
        turns = [
            *(prompt or [{"role": "user", "content": row.required("prompt")}]),
            *(completion or [{"role": "assistant", "content": row.required("completion")}]),
        ]
        return conversed(row, turns)
