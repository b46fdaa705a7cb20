"""``sweeper data``: what is wrong with a data set, and a new one without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(no_args_is_help=True, help="Check data sets, and write better ones.")

_Path = Annotated[str, typer.Argument(help="File, or folder with train, validation and test.")]
_Task = Annotated[
    str | None,
    typer.Option("--task", help="classification, instruction, code or domain; else by the rows."),
]
_Format = Annotated[
    str, typer.Option("--format", help="Format of the rows, if the guess is wrong.")
]
_Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="role=column, for example text=question.", metavar="ROLE=COLUMN"),
]
_Cap = Annotated[
    int | None, typer.Option("--max-length", min=1, help="TokenCap on the tokens of one example.")
]
_Model = Annotated[
    str | None, typer.Option("--model", help="Count tokens with the tokenizer of this model.")
]
_Against = Annotated[
    str | None, typer.Option("--against", help="An evaluation set that must not be in the data.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@data.command("check")
def check(
    path: _Path,
    task: _Task = None,
    data_format: _Format = "auto",
    columns: _Columns = None,
    max_length: _Cap = None,
    model: _Model = None,
    against: _Against = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 5 if there is a serious fault.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """What is wrong with a data set, what it leads to, and the command that mends it."""
    import json

    from sweeper.cli.commands import data_steps
    from sweeper.data.quality.check import check as find_faults
    from sweeper.errors import GateFailed
    from sweeper.views.data_view import show_check

    rows = data_steps.rows_of(
        path, task, data_format, columns, max_length, model, against, stored=True
    )
    checked = find_faults(rows)
    if as_json:
        typer.echo(json.dumps(checked.as_json(), indent=2))
    else:
        show_check(checked)
    if strict and checked.serious:
        raise GateFailed(
            f"{len(checked.serious)} serious kinds of faults: "
            f"{', '.join(one.kind for one in checked.serious)}",
            fix="Mend them with the commands above, or leave out --strict.",
            where=path,
        )


@data.command("fix")
def fix(
    path: _Path,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New file or folder; without it, nothing is written."),
    ] = None,
    remedy: Annotated[
        list[str] | None,
        typer.Option("--remedy", help="Kinds of faults to mend, with commas.", metavar="<kinds>"),
    ] = None,
    all_safe: Annotated[
        bool, typer.Option("--all-safe", help="Every remedy that takes nothing away that is meant.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    task: _Task = None,
    data_format: _Format = "auto",
    columns: _Columns = None,
    max_length: _Cap = None,
    model: _Model = None,
    against: _Against = None,
    as_json: _Json = False,
) -> None:
    """Write a new data set without the faults, and a list of every change.

    The original stays as it is. The list, NEW.changes.jsonl, has the line of each row that was
    changed or left out, with what it held.
    """
    import json

    from sweeper.cli.commands import data_steps
    from sweeper.data.quality.fix import fix as mended
    from sweeper.views.console import err
    from sweeper.views.data_view import show_changes

    kinds = data_steps.remedies(remedy or [], all_safe)
    rows = data_steps.rows_of(path, task, data_format, columns, max_length, model, against)
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
        err().print("Nothing was written. Give -o NEW to write the new data set.", markup=False)
