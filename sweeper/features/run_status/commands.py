"""``sweeper show``: progress and results of a run; ``sweeper list``: all runs of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.options import AsJson, RunName
from sweeper.runfolder import RunFolder

ORDER = 150  # position in the help
commands = typer.Typer()


@commands.command("show")
def show(
    run: RunName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the run until it ends.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Open a page that refreshes until the run ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print status and verdict as JSON.")
    ] = False,
) -> None:
    """Show one run: progress while it runs, the verdict when it is done."""
    from sweeper.features.run_status import _printing

    folder = RunFolder.find(run)
    if as_json:
        typer.echo(_printing.as_json(folder))
    else:
        _printing.show(folder, follow=follow, in_browser=live)


@commands.command("list")
def list_runs(
    runs_folder: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            help="Folder with the runs; by default runs.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs here, with progress and verdict."""
    from sweeper.errors import RunError
    from sweeper.execution.state.continuation import statuses
    from sweeper.features.run_status._printing import listed, shortened
    from sweeper.views.console import out, say, show_page, table

    runs, root = [], runs_folder or Path("runs")
    for plan in sorted(root.glob("*/plan.json")):
        try:
            runs.append(RunFolder.find(plan.parent))
        except RunError as error:
            say(f"Left out: {error}")
    by_folder = statuses(runs)
    rows = [listed(run, by_folder.get(run.path)) for run in runs]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        out().print(f"No runs in {root}. Start one with 'sweeper run'.")
        return
    short_rows = [shortened(row) for row in rows]
    show_page(table([*short_rows[0]], ([*row.values()] for row in short_rows)))


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.run_status._printing import ShownRun

    return {"show": ShownRun}
