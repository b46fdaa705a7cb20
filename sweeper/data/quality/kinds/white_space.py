"""White space around texts, and characters that cannot be seen."""

from __future__ import annotations

import re

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows, FileRow

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b\u2060\ufeff]")
"""Control characters, soft hyphens, zero-width spaces and byte order marks. Joiners (U+200C,
U+200D) are letters of Persian and Hindi, and parts of emoji."""


class WhiteSpace(Kind):
    """White space at the end of a text or around a label, and characters that cannot be seen."""

    name = "white-space"
    order = 20
    title = "have white space at an end, or invisible characters"
    consequence = "The model learns to write them, and rows that look the same are different."
    remedy = "removes them; white space at the start of an answer stays, since code may need it"
    severity = "note"
    safe = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        return [
            Fault(place)
            for place, row, _ in data.usable
            if self._mended(data, row).fields != row.fields
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        return {fault.place: self._mended(data, data.rows[fault.place]) for fault in faults}

    @staticmethod
    def _mended(data: DataRows, row: FileRow) -> FileRow:
        form = data.forms[row.path].of(row.fields)
        if form.columns.get("completion") == "canonical_solution":
            mend = _visible  # the answer goes on where the prompt ends, so its last line counts
        else:
            mend = _stripped if row.label else _without_end
        new = data.with_texts(row, mend)
        label = row.fields.get(form.columns.get("label", ""))
        if isinstance(label, str) and _stripped(label) != label:
            new = data.with_label(new, _stripped(label))
        return new


def _visible(text: str) -> str:
    return _UNSEEN.sub("", text)


def _without_end(text: str) -> str:
    return _visible(text).rstrip()


def _stripped(text: str) -> str:
    return _visible(text).strip()
