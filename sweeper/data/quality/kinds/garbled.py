"""Texts that were written in one encoding and read in another."""

from __future__ import annotations

import re

from sweeper.data.encoding import is_garbled
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows, FileRow

_RUN = re.compile(r"[\x80-\uffff]{2,}")


class Garbled(Kind):
    """Lost characters, and UTF-8 that was read as Latin-1 or cp1252."""

    name = "garbled"
    order = 10
    title = "have garbled or lost characters"
    consequence = "The model learns to read and write them as they are."
    remedy = "restores UTF-8 that was read as cp1252; lost characters stay lost"
    safe = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        found = []
        for place, row, _ in data.usable:
            texts = (row.input, row.written, row.label)
            if any(map(is_garbled, texts)):
                whole = "\n".join(texts)
                lost = restored(whole) == whole
                found.append(Fault(place, "characters are lost" if lost else ""))
        return found

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        mended: dict[int, FileRow | None] = {}
        for fault in faults:
            row = data.rows[fault.place]
            new = data.with_texts(row, restored)
            if row.label and restored(row.label) != row.label:
                new = data.with_label(new, restored(row.label))
            if new.fields != row.fields:
                mended[fault.place] = new
        return mended


def restored(text: str) -> str:
    """The text with runs of UTF-8 bytes that were read as cp1252 or Latin-1 put right.

    >>> restored("cafÃ© and naïve")
    'café and naïve'
    """
    return _RUN.sub(lambda match: _decoded(match[0]), text)


def _decoded(run: str) -> str:
    for encoding in ("cp1252", "latin-1"):
        try:
            return run.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return run
