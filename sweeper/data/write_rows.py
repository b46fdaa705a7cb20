"""Writes rows to files: JSON Lines, JSON, CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sweeper.data.problems import WRITABLE_SUFFIXES
from sweeper.data.reading.read import data_suffix
from sweeper.data.table import Fields
from sweeper.errors import UsageError
from sweeper.packages import needed_for
from sweeper.textfiles import replacing


def json_lines(rows: Iterable[Mapping[str, object]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def write_rows(path: Path, rows: Iterable[Fields], columns: Iterable[str] | None = None) -> None:
    """Write rows one by one, but JSON and Parquet files in one piece.

    Half of a surrogate pair, which JSON can hold, becomes its escape again.

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
    """The suffix to write a file with.

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
    """The new name of a folder's file; formats that cannot be written become JSONL."""
    name = source.name.removesuffix(".gz")
    if data_suffix(source) in WRITABLE_SUFFIXES:
        return name
    return f"{Path(name).stem}{WRITABLE_SUFFIXES[0]}"


def changes_path(new: Path) -> Path:
    """The path of the change list of a new file or folder, next to it."""
    return new.with_name(f"{new.name.partition('.')[0]}.changes.jsonl")
