"""Instructions with an optional input, as Alpaca, OpenOrca and reading comprehension have them."""

from __future__ import annotations

from typing import ClassVar

from sweeper.data.contents import without_surrogates
from sweeper.data.examples import Example, Message
from sweeper.data.formats.row_format import (
    RawRow,
    RoleChecks,
    RowFormat,
    Shape,
    UnusableRow,
    parsed_cell,
    text_of,
)
from sweeper.data.formats.turns import (
    CODE_TESTS,
    SYSTEM,
    answered_example,
    is_answer,
    is_anything,
    system_message,
)


class InstructionRows(RowFormat):
    """An instruction, an optional input, and the answer."""

    name = "instruction"
    aliases = ("alpaca",)
    order = 20
    tasks = ("instruction", "code", "domain")
    columns = "`instruction`, optional `input`, `output` or `response`"
    shapes = (
        Shape(
            {
                "instruction": ("instruction",),
                "output": ("output", "response", "answer", "completion"),
            },
            {
                "input": ("input", "context", "article"),
                "history": ("history",),
                **CODE_TESTS,
                **SYSTEM,
            },
        ),
        Shape(
            {
                "instruction": ("question",),
                "input": ("context", "article", "contexts", "passage"),
                "output": ("answer", "response", "answers", "long_answer"),
            },
            SYSTEM,
        ),
        Shape(
            {
                "system": ("system_prompt",),
                "instruction": ("question",),
                "output": ("response", "answer"),
            }
        ),
    )
    value_checks: ClassVar[RoleChecks] = {
        "history": is_anything,
        "tests": is_anything,
        "output": is_answer,
    }

    def example(self, row: RawRow) -> Example:
        """Instruction and input in one message, after the system prompt and earlier turns."""
        prompt = row.required("instruction")
        if context := row.text("input").strip():
            prompt = f"{prompt}\n{context}"
        messages = (*system_message(row), *_history(row), Message("user", prompt))
        return answered_example(row, messages, "output")


def _history(row: RawRow) -> list[Message]:
    """The turns of earlier pairs of question and answer."""
    history = parsed_cell(row.value("history"))
    messages: list[Message] = []
    for pair in history if isinstance(history, list) else []:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise UnusableRow("`history` is not a list of pairs")
        question, answer = (without_surrogates(text_of(part)) for part in pair)
        messages += [Message("user", question), Message("assistant", answer)]
    return messages
