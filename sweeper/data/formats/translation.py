"""One text in two languages, as OPUS and WMT have them: ``{"en": ..., "de": ...}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sweeper.data.contents import without_surrogates
from sweeper.data.examples import Example, Message, input_key
from sweeper.data.formats.row_format import (
    EmptyRow,
    RawRow,
    RoleChecks,
    RowFormat,
    Shape,
    UnusableRow,
    parsed_cell,
)


def is_translation(value: object) -> bool:
    """Whether a value has one text for each of two languages."""
    value = parsed_cell(value)
    return (
        isinstance(value, Mapping)
        and len(value) == 2
        and all(isinstance(text, str) for text in value.values())
    )


class Translation(RowFormat):
    """A text and its translation; the first language in the cell is the prompt."""

    name = "translation"
    order = 35
    tasks = ("instruction", "domain")
    columns = "`translation` with one text for each of two languages, the first being the prompt"
    shapes = (Shape({"translation": ("translation",)}),)
    value_checks: ClassVar[RoleChecks] = {"translation": is_translation}

    def example(self, row: RawRow) -> Example:
        """The first language is the prompt, the second the answer."""
        value = parsed_cell(row.valid_value("translation"))
        if not isinstance(value, Mapping):
            raise EmptyRow
        if not is_translation(value):
            raise UnusableRow("not two languages")
        question, answer = (without_surrogates(text) for text in value.values())
        if not question.strip() or not answer.strip():
            raise EmptyRow
        messages = (Message("user", question), Message("assistant", answer))
        return Example(input_key(question), row.line, messages=messages)
