"""``sweeper data split`` and ``data convert`` write new data sets from the rows of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sweeper.cli.data_options import DataName, RoleColumns, RowFormat, RowsPath, TaskName
from sweeper.cli.options import AsJson

ORDER = 160
commands = typer.Typer(name="data", help="Work with data sets.")


@commands.command("split")
def split(
    path: RowsPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", min=0, max=1, help="Share for validation.")
    ] = 0.15,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", min=0, max=1, help="Share for the test split.")
    ] = 0.15,
    seed: Annotated[int, typer.Option("--seed", help="Another number gives another split.")] = 0,
    by_hash: Annotated[
        bool,
        typer.Option("--by-hash", help="Near duplicates stay together; added rows move no others."),
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Rows with the same value in this column stay together."),
    ] = None,
    by_time: Annotated[
        str | None,
        typer.Option(
            "--by-time", help="The rows with the latest times in this column are the test."
        ),
    ] = None,
    name: DataName = None,
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
    as_json: AsJson = False,
) -> None:
    """Write files for train, validation and test.

    The split is the one that `sweeper run` makes of the same rows: within each class, by a hash of
    the input. With --by-hash, near duplicates form a group, whose split depends only on its
    content: rows that are added later move no earlier row, unless they join its group. Splits that
    the data already have stay as they are.
    """
    from sweeper.cli.data_options import rows_of
    from sweeper.features.converting import _steps as steps

    spec = steps.split_spec(
        path, name, (validation_fraction, test_fraction), seed, by_hash, group_by, by_time
    )
    rows = rows_of(path, task, data_format, columns, name)
    division = steps.write_splits(rows, spec, output)
    if as_json:
        typer.echo(division.model_dump_json(indent=2))
    else:
        steps.show_division(division)


@commands.command("convert")
def convert(
    path: RowsPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New file, or folder where there are splits.")
    ],
    to: Annotated[
        Literal["messages", "prompt-completion", "alpaca", "sharegpt", "text-label", "text"] | None,
        typer.Option(
            "--to", help="messages, prompt-completion, alpaca, sharegpt, text-label or text."
        ),
    ] = None,
    name: DataName = None,
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows in another format, or in another kind of file.

    The kind follows from the name: .jsonl, .json, .csv, .tsv or .parquet. If the format cannot
    hold all rows, nothing is written, and the message counts these rows.
    """
    from sweeper.cli.data_options import rows_of
    from sweeper.features.converting import _steps as steps

    rows = rows_of(path, task, data_format, columns, name)
    converted = steps.write_converted(rows, to, output)
    if as_json:
        typer.echo(converted.model_dump_json(indent=2))
    else:
        steps.show_conversion(converted)


def answers() -> dict[str, Any]:
    """The types of the ``--json`` output, by command."""
    from sweeper.features.converting import _steps as steps

    return {"data split": steps.DivisionFiles, "data convert": steps.ConvertedFiles}
