"""Rows that are longer than the maximum number of tokens."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


class Truncation(Kind):
    """Rows of which training would not see the end."""

    name = "truncation"
    order = 82
    title = "are longer than the maximum number of tokens"
    consequence = "Their end is cut off. Of an instruction, this is the answer or a part of it."
    remedy = "leaves them out; a higher --max-length keeps them, but needs more memory"
    compares = "nothing"

    def missing(self, data: DataRows) -> str:
        """It needs to know the cap."""
        return "" if data.cap else "give --max-length, and --model for its tokenizer"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows whose texts have more tokens together."""
        if data.cap is None:
            return []
        places = [place for place, _, _ in data.usable]
        counts = data.cap.count([f"{row.input}\n{row.written}" for _, row, _ in data.usable])
        return [
            Fault(place, f"{count:,} tokens, {data.cap.how}")
            for place, count in zip(places, counts, strict=True)
            if count > data.cap.tokens
        ]
