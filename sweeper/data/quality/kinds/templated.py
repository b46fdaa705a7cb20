"""Chat markers inside texts."""

from __future__ import annotations

import re

from sweeper.data.formats.text import is_templated
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows, FileRow

_MARKER = re.compile(
    r"<\|im_start\|>(?:system|user|assistant)?\n?|<\|im_end\|>"
    r"|<\|start_header_id\|>\w*<\|end_header_id\|>|<\|eot_id\|>|<\|begin_of_text\|>"
    r"|<start_of_turn>(?:user|model)?\n?|<end_of_turn>"
    r"|<\|(?:user|assistant|system|end)\|>|\[/?INST\]|<</?SYS>>"
    r"|### (?:Response|Instruction|Input):"
)


class Templated(Kind):
    """Texts that a chat template was applied to before."""

    name = "templated"
    order = 22
    title = "have chat markers such as [INST] inside their texts"
    consequence = "With a second template around them, the model learns to write markers as words."
    remedy = "removes the markers"
    in_plan = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with markers, unless all of the data is one templated text a row."""
        return [
            Fault(place)
            for place, row, example in data.usable
            if not example.templated and (is_templated(row.input) or is_templated(row.written))
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        return {fault.place: data.with_texts(data.rows[fault.place], _without) for fault in faults}


def _without(text: str) -> str:
    """
    >>> _without("[INST] Hello. [/INST]")
    'Hello.'
    """
    return _MARKER.sub("", text).strip() if _MARKER.search(text) else text
