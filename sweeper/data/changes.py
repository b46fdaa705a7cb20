"""Lists of changes to the rows of files, which are written, read and applied."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sweeper.data.rows import DataRows, FileRow
from sweeper.data.write_rows import json_lines
from sweeper.errors import DataError

RowsT = TypeVar("RowsT", bound=DataRows)


@dataclass(frozen=True)
class ListedChange:
    """A change to one row of a file: one line of the change list.

    Args:
        remedy: Name of the remedy or method that made the change.
        action: ``removed``, ``changed``, ``added``, ``rejected`` or ``failed``.
        before: The cells before; only those that changed, unless the row was removed.
        after: The cells after; empty if the row was removed.
        after_split: Whether the change was made after the split, in train alone.
    """

    path: str
    line: int
    remedy: str
    action: str
    why: str
    before: Mapping[str, object]
    after: Mapping[str, object]
    after_split: bool = False


def apply_changes(data: RowsT, changes: Sequence[ListedChange]) -> RowsT:
    """The rows after the changes, without removed rows."""
    if not changes:
        return data
    by_row: dict[tuple[str, int], list[ListedChange]] = defaultdict(list)
    for change in changes:
        by_row[change.path, change.line].append(change)
    rows: list[FileRow] = []
    for row in data.rows:
        row_changes = by_row.get((row.path, row.line), [])
        if any(change.action == "removed" for change in row_changes):
            continue
        new_cells = {name: cell for change in row_changes for name, cell in change.after.items()}
        rows.append(data.with_fields(row, {**row.fields, **new_cells}) if new_cells else row)
    return data.with_rows(rows)


def change_list(changes: Iterable[ListedChange]) -> str:
    """The changes as JSON Lines; ``after_split`` is written only where it is true."""
    lines = map(asdict, changes)
    return json_lines({k: v for k, v in line.items() if v is not False} for line in lines)


def count_changes(changes: Iterable[ListedChange]) -> Counter[tuple[str, str]]:
    """The number of changes by remedy and action, in the order of first occurrence."""
    return Counter((change.remedy, change.action) for change in changes)


def read_changes(path: Path) -> tuple[ListedChange, ...]:
    """The changes in a change list file.

    Raises:
        DataError: The file is damaged.
    """
    try:
        # splitlines would also cut at U+2028, which texts may hold.
        lines = path.read_text(encoding="utf-8").split("\n")
        return tuple(ListedChange(**json.loads(line)) for line in lines if line)
    except (ValueError, TypeError) as error:
        raise DataError(
            "the run's list of changes to its data is damaged",
            fix="Put the file back from a backup, or start over with --new.",
            where=str(path),
        ) from error
