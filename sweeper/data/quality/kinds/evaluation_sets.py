"""Rows of an evaluation set inside the data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sweeper.data.corpus import WINDOW
from sweeper.data.examples import normalised
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow

_WORD = re.compile(r"\w+")


class EvaluationSets(Kind):
    """Rows that are in an evaluation set, or share a run of 13 words with one of its rows."""

    name = "evaluation-sets"
    order = 74
    title = "are in the evaluation set, or quote it"
    consequence = "Its scores become meaningless, since the model has read the questions."
    remedy = "leaves them out"
    severity = "serious"
    compares = "nothing"

    def missing(self, data: DataRows) -> str:
        """It needs an evaluation set."""
        return "" if data.against else "give the evaluation set with --against FILE"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows of train and validation with the input of an evaluation row, or a run of words."""
        held = [row for row in data.against if row.example is not None]
        keys = {row.example.key: row.line for row in held if row.example}
        windows = {window: row.line for row in held for window in _windows(row)}
        found = []
        for place, row, example in data.usable:
            line = keys.get(example.key)
            if line is None:
                line = next((windows[one] for one in _windows(row) if one in windows), None)
            if line is not None:
                found.append(Fault(place, f"as line {line} of the evaluation set"))
        return found


def _windows(row: FileRow) -> Iterator[int]:
    words = _WORD.findall(normalised(f"{row.input}\n{row.written}"))
    return (hash(tuple(words[i : i + WINDOW])) for i in range(len(words) - WINDOW + 1))
