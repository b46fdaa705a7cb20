"""``sweeper data check`` lists faults of a data set; ``data fix`` writes one without them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.data_options import DataName, RoleColumns, RowFormat, RowsPath, TaskName
from sweeper.cli.options import AsJson

commands = typer.Typer(name="data", help="Work with data sets.")

_Cap = Annotated[
    int | None, typer.Option("--max-length", min=1, help="Maximum tokens of one example.")
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

    from sweeper.cli.data_options import rows_of
    from sweeper.errors import GateFailed
    from sweeper.features.quality import _fix as steps
    from sweeper.features.quality._check import check as find_faults
    from sweeper.features.quality._view import show_check, show_example
    from sweeper.textfiles import write_text
    from sweeper.units import plural

    rows = rows_of(path, task, data_format, columns, name, quiet=True)
    rows = steps.rows_to_check(rows, max_length, model, against)
    checked = find_faults(rows)
    if html is not None:
        from sweeper.features.quality._page import data_page  # loads templates

        write_text(html, data_page(checked))
    if as_json:
        typer.echo(json.dumps(checked.as_json(), indent=2))
    else:
        show_check(checked)
        show_example(rows)
    if strict and checked.serious:
        raise GateFailed(
            f"{plural(len(checked.serious), 'serious kind')} of fault: "
            f"{', '.join(finding.kind for finding in checked.serious)}",
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

    from sweeper.cli.data_options import must_be_new, rows_of
    from sweeper.features.quality import _fix as steps
    from sweeper.features.quality._kinds.base import remedies
    from sweeper.features.quality._view import show_changes
    from sweeper.views.console import say

    requested = steps.requested_remedies(remedy or [], all_safe)
    rows = rows_of(path, task, data_format, columns, name)
    rows = steps.rows_to_check(rows, max_length, model, against)
    kinds = remedies(requested, all_safe, rows, "--remedy")
    written_to = output if not dry_run else None
    if written_to is not None:
        must_be_new(written_to, rows)
    fixed = steps.fix(rows, kinds)
    if written_to is not None:
        steps.write(fixed, written_to)
    if as_json:
        typer.echo(steps.summary(fixed, written_to).model_dump_json(indent=2))
        return
    show_changes(fixed, rows, written_to)
    if written_to is None:
        say("Nothing was written. Give -o NEW to write the new data set.")


def answers() -> dict[str, Any]:
    """The types of the ``--json`` output, by command."""
    from sweeper.features.quality._check import Checked
    from sweeper.features.quality._fix import FixedFiles

    return {"data check": Checked, "data fix": FixedFiles}
