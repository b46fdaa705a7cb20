"""Plain text, and text with the markers of a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper.data.examples import Example, input_key
from sweeper.data.formats.row_format import MIN_MATCHING_SHARE, RawRow, RowFormat, Shape, text_of
from sweeper.data.table import Fields
from sweeper.spec import Task

CHAT_MARKERS = (
    *("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|user|>", "<|assistant|>"),
    *("[INST]", "### Response:"),
)
"""Markers that chat templates leave in a text."""


class TextRows(RowFormat):
    """One text a row."""

    name = "text"
    order = 50
    tasks = ("instruction", "code", "domain")
    columns = "`text`, `content`, `body`, ...; for instruction and code only with chat markers"
    shapes = (Shape({"text": ("text", "content", "body", "document", "code")}),)

    def example(self, row: RawRow) -> Example:
        text = row.required("text")
        return Example(input_key(text), row.line, text=text, templated=row.form.templated)

    def templated(self, sample: Sequence[Fields], columns: Mapping[str, str]) -> bool:
        with_markers = sum(is_templated(text_of(fields.get(columns["text"]))) for fields in sample)
        return with_markers >= MIN_MATCHING_SHARE * len(sample)

    def unsuited(self, task: Task, templated: bool) -> str:
        """Why only ``domain`` can use text without chat markers; empty if this task can."""
        if task == "domain" or templated:
            return ""
        return "is plain text: nothing in it says where an answer begins"


def is_templated(text: str) -> bool:
    """Whether this text already holds chat markers."""
    return any(marker in text for marker in CHAT_MARKERS)
