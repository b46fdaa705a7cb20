"""``sweeper data``: finds faults in a data set, and writes a new one without them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import AsJson

ORDER = 160
commands = typer.Typer(name="data", help="Check data sets, and write better ones.")

RowsPath = Annotated[str, typer.Argument(help="File, folder with splits, or id of the hub.")]
TaskName = Annotated[
    str | None,
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
_Cap = Annotated[
    int | None, typer.Option("--max-length", min=1, help="Most tokens of one example.")
]
_Model = Annotated[
    str | None, typer.Option("--model", help="Count tokens with the tokenizer of this model.")
]
_Against = Annotated[
    str | None, typer.Option("--against", help="An evaluation set that must not be in the data.")
]


@commands.command("check")
def check(
    path: RowsPath,
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
    max_length: _Cap = None,
    model: _Model = None,
    against: _Against = None,
    name: DataName = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 5 if there is a serious fault.")
    ] = False,
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the findings as one page.")
    ] = None,
) -> None:
    """List the faults of a data set, their consequences, and the command that fixes them."""
    import json

    from sweeper.cli.commands import data_steps
    from sweeper.data.quality.check import check as find_faults
    from sweeper.errors import GateFailed
    from sweeper.units import plural
    from sweeper.views.data_view import show_check, show_example

    rows = data_steps.rows_of(
        path, task, data_format, columns, max_length, model, against, name, stored=True
    )
    checked = find_faults(rows)
    if html is not None:
        data_steps.write_page(checked, html)
    if as_json:
        typer.echo(json.dumps(checked.as_json(), indent=2))
    else:
        show_check(checked)
        show_example(rows)
    if strict and checked.serious:
        raise GateFailed(
            f"{plural(len(checked.serious), 'serious kind')} of fault: "
            f"{', '.join(one.kind for one in checked.serious)}",
            fix="Fix them as described above, or leave out --strict.",
            where=path,
        )


@commands.command("fix")
def fix(
    path: RowsPath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New file or folder; without it, nothing is written."),
    ] = None,
    remedy: Annotated[
        list[str] | None,
        typer.Option(
            "--remedy",
            help="Kinds of faults to fix, as `sweeper data check` names them, separated by commas.",
            metavar="<kinds>",
        ),
    ] = None,
    all_safe: Annotated[
        bool,
        typer.Option(
            "--all-safe",
            help="Apply all safe remedies: they remove nothing that you could want to keep.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
    max_length: _Cap = None,
    model: _Model = None,
    against: _Against = None,
    name: DataName = None,
    as_json: AsJson = False,
) -> None:
    """Write a new data set without the faults, and a list of every change.

    The original stays as it is. The list, NEW.changes.jsonl, has the line number and the old
    content of each row that was changed or left out.
    """
    import json

    from sweeper.cli.commands import data_steps
    from sweeper.data.quality.fix import fix as mended
    from sweeper.views.console import say
    from sweeper.views.data_view import show_changes

    kinds = data_steps.remedies(remedy or [], all_safe)
    rows = data_steps.rows_of(path, task, data_format, columns, max_length, model, against, name)
    data_steps.must_be_looked_for(kinds, rows)
    written = output if not dry_run else None
    if written is not None:
        data_steps.must_be_new(written, rows)
    fixed = mended(rows, kinds)
    if written is not None:
        data_steps.write(fixed, written)
    if as_json:
        typer.echo(json.dumps(data_steps.summary(fixed, written), indent=2))
        return
    show_changes(fixed, rows, written)
    if written is None:
        say("Nothing was written. Give -o NEW to write the new data set.")


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
    import json

    from sweeper.cli.commands import data_steps
    from sweeper.views.data_view import show_division

    spec = data_steps.split_spec(
        path, name, (validation_fraction, test_fraction), seed, by_hash, group_by, by_time
    )
    rows = data_steps.rows_of(path, task, data_format, columns, None, None, None, name)
    made = data_steps.write_splits(rows, spec, output)
    if as_json:
        typer.echo(json.dumps(data_steps.division_summary(made, output), indent=2))
    else:
        show_division(made, output)


@commands.command("convert")
def convert(
    path: RowsPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New file, or folder where there are splits.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="messages, prompt-completion, alpaca, sharegpt, text-label or text."
        ),
    ] = None,
    name: DataName = None,
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
) -> None:
    """Write the rows in another format, or in another kind of file.

    The kind follows from the name: .jsonl, .json, .csv, .tsv or .parquet. If the format cannot
    hold all rows, nothing is written, and the message counts these rows.
    """
    from sweeper.cli.commands import data_steps
    from sweeper.views.data_view import show_conversion

    target = data_steps.target_format(to)
    rows = data_steps.rows_of(path, task, data_format, columns, None, None, None, name)
    show_conversion(*data_steps.write_converted(rows, target, output))
