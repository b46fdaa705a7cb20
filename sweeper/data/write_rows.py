"""Writes rows to files; writes, reads and applies lists of changes to rows."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sweeper.data.problems import WRITABLE_SUFFIXES
from sweeper.data.reading.read import data_suffix
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.table import Fields
from sweeper.errors import DataError, UsageError
from sweeper.packages import needed_for
from sweeper.textfiles import replacing


def json_lines(rows: Iterable[Mapping[str, object]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def write_rows(path: Path, rows: Iterable[Fields], columns: Iterable[str] | None = None) -> None:
    """Write rows to a file of the kind that its suffix names.

    All rows are held in memory for JSON and Parquet, or if ``columns`` is None. Half of a surrogate
    pair, which JSON can hold, becomes its escape again.

    Args:
        columns: All column names, for CSV and TSV; None for the names in the rows.
    """
    suffix = path.suffix.lower()
    if columns is None:
        rows = list(rows)
        columns = dict.fromkeys(name for row in rows for name in row)
    with replacing(path) as temporary:
        if suffix == ".parquet":
            temporary.write_bytes(_parquet(list(rows)))
            return
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if suffix == ".json":
                json.dump(list(rows), file, ensure_ascii=False, default=str, indent=1)
                file.write("\n")
            elif suffix in (".csv", ".tsv"):
                delimiter = "," if suffix == ".csv" else "\t"
                writer = csv.DictWriter(
                    file, list(columns), delimiter=delimiter, lineterminator="\n"
                )
                writer.writeheader()
                writer.writerows({name: _cell(cell) for name, cell in row.items()} for row in rows)
            else:
                file.writelines(json_lines([row]) for row in rows)


def _cell(cell: object) -> object:
    """A cell for CSV: lists and objects as JSON."""
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return cell


def _parquet(rows: Sequence[Fields]) -> bytes:
    with needed_for("Parquet", "pip install pyarrow, or write JSONL.", "-o"):
        import pyarrow as pa
        from pyarrow import parquet
    buffer = io.BytesIO()
    # pyarrow would use the columns of the first row alone.
    columns = dict.fromkeys(name for row in rows for name in row)
    full_rows = [{name: row.get(name) for name in columns} for row in rows]
    parquet.write_table(pa.Table.from_pylist(full_rows), buffer)
    return buffer.getvalue()


def writable_suffix(path: Path, source: Path) -> str:
    """The suffix of a file that is to be written.

    Args:
        source: The file that was read, whose name the error suggests.

    Raises:
        UsageError: No file of that kind can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise UsageError(
            f"{path.name!r} is not a kind of file that can be written",
            fix=f"Name it {source.name.partition('.')[0]}-new{WRITABLE_SUFFIXES[0]}, or use one of "
            f"{', '.join(WRITABLE_SUFFIXES)}.",
            where="-o",
        )
    return suffix


def name_in_folder(source: Path) -> str:
    """The name under which a folder's file is written: JSONL in place of unwritable suffixes."""
    name = source.name.removesuffix(".gz")
    if data_suffix(source) in WRITABLE_SUFFIXES:
        return name
    return f"{Path(name).stem}{WRITABLE_SUFFIXES[0]}"


def changes_path(new: Path) -> Path:
    """The path of the change list of a new file or folder, next to it."""
    return new.with_name(f"{new.name.partition('.')[0]}.changes.jsonl")


RowsT = TypeVar("RowsT", bound=DataRows)


@dataclass(frozen=True)
class ListedChange:
    """A change to one row of a file: one line of the change list.

    Args:
        remedy: Name of the remedy or method that made the change.
        action: ``removed``, ``changed``, ``added``, ``rejected`` or ``failed``.
        before: The changed cells before the change; all cells of a removed row.
        after: The changed cells after the change; empty if the row was removed.
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
    """The data with the changed rows, and without the removed ones."""
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
    return json_lines(
        {name: value for name, value in line.items() if value is not False} for line in lines
    )


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
