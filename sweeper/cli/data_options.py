"""The flags of ``sweeper data`` that name rows, and the rows that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import columns as column_map
from sweeper.data.rows import DataRows, read_rows
from sweeper.data.write_rows import changes_path, writable_suffix
from sweeper.errors import DataError, UsageError
from sweeper.spec import DataSpec, Task
from sweeper.views.console import say

RowsPath = Annotated[str, typer.Argument(help="File, folder with splits, or id of the hub.")]
TaskName = Annotated[
    Task | None,
    typer.Option(
        "--task",
        help="classification, instruction, code or domain; by default recognised from the rows.",
    ),
]
RowFormat = Annotated[
    str, typer.Option("--format", help="Format of the rows, if it is not recognised.")
]
RoleColumns = Annotated[
    list[str] | None,
    typer.Option("--column", help="role=column, for example text=question.", metavar="ROLE=COLUMN"),
]
DataName = Annotated[
    str | None,
    typer.Option("--data-name", help="Configuration of a hub data set that has several."),
]


def rows_of(
    path: str,
    task: Task | None,
    data_format: str,
    columns: list[str] | None,
    name: str | None = None,
    *,
    quiet: bool = False,
) -> DataRows:
    """The rows that the flags name.

    Args:
        name: Configuration of a hub data set.
        quiet: Whether to leave the cautions to the caller instead of printing them.

    Raises:
        UsageError: A flag is wrong.
        DataError: The data cannot be read or recognised.
    """
    spec = DataSpec(path=path, name=name, format=data_format, columns=column_map(columns or []))
    rows = read_rows(spec, task)
    for caution in rows.cautions if not quiet else ():
        say(f"Check this: {caution}")
    if not any(row.example for row in rows.rows):
        raise DataError("no row can be trained on", fix="Is this the right file?", where=path)
    return rows


def must_be_new(output: Path, rows: DataRows) -> None:
    """Check that the new data set can be written.

    Raises:
        UsageError: The path exists, or files of this kind cannot be written.
    """
    must_be_free(output, changes_path(output))
    if len(rows.forms) == 1:  # keyed by the files that the rows come from
        writable_suffix(output, Path(next(iter(rows.forms))))


def must_be_free(*paths: Path) -> None:
    """Check that files or folders can be created.

    Raises:
        UsageError: A path exists, or its parent folder does not.
    """
    for path in paths:
        if path.exists():
            fix = "Delete it, or name another -o."
            raise UsageError("the output exists", fix=fix, where=str(path))
        if not path.absolute().parent.is_dir():
            raise UsageError("there is no such folder", where=str(path.absolute().parent))
