"""Conversations, as OpenAI and ShareGPT write them."""

from __future__ import annotations

from typing import ClassVar

from sweeper.data.examples import Example
from sweeper.data.formats.row_format import (
    EmptyRow,
    RawRow,
    RoleChecks,
    RowFormat,
    Shape,
    UnusableRow,
)
from sweeper.data.formats.turns import (
    CODE_TESTS,
    SYSTEM,
    TOOLS,
    conversation_example,
    is_anything,
    is_turns,
    turns_of,
)


class Messages(RowFormat):
    """A list of turns; the last answer is scored."""

    name = "messages"
    aliases = ("sharegpt", "openai")
    order = 10
    tasks = ("instruction", "code", "domain")
    columns = (
        "`messages`, `conversations`, ... with `role` and `content`, "
        "or ShareGPT's `from` and `value`"
    )
    shapes = (
        Shape(
            {"messages": ("messages", "conversations", "conversation", "chat", "texts")},
            {**SYSTEM, **TOOLS, **CODE_TESTS},
        ),
    )
    value_checks: ClassVar[RoleChecks] = {
        "messages": is_turns,
        "tools": is_anything,
        "tests": is_anything,
    }

    def example(self, row: RawRow) -> Example:
        value = row.value("messages")
        turns = turns_of(value)
        if turns is not None:
            return conversation_example(row, turns)
        if value in (None, "", []):
            raise EmptyRow
        raise UnusableRow(f"`{row.form.columns['messages']}` is not a list of turns")
