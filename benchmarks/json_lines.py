"""Files of one JSON object a line, which data sets and records are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    # Not splitlines: a text may contain other line separators.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as a file of their own."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def append(path: Path, row: Mapping[str, Any]) -> None:
    """A row at the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
