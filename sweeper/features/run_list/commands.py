"""``sweeper list``: the runs in a folder, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import AsJson

if TYPE_CHECKING:
    from sweeper.execution.state.status import Status
    from sweeper.runfolder import RunFolder

ORDER = 140
_PROCESS = " besides the process"
commands = typer.Typer()


@commands.command("list")
def list_runs(
    root: Annotated[Path, typer.Option("--runs", help="The folder that holds runs.")] = Path(
        "runs"
    ),
    as_json: AsJson = False,
) -> None:
    """List the runs here, with progress and verdict."""
    import json

    from rich.markup import escape
    from rich.table import Table

    from sweeper.errors import RunError
    from sweeper.execution.state.second_command import statuses
    from sweeper.runfolder import RunFolder
    from sweeper.views.console import out, say, show_page

    runs = []
    for plan in sorted(root.glob("*/plan.json")):
        try:
            runs.append(RunFolder.find(plan.parent))
        except RunError as error:
            say(f"Left out: {error}")
    known = statuses(runs)
    rows = [_row(run, known.get(run.path)) for run in runs]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        out().print(f"No runs in {root}. Start one with 'sweeper run'.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        short = row | {"verdict": row["verdict"].partition(": ")[0]}
        cells = (cell.replace("95% CI ", "").replace(_PROCESS, "") for cell in short.values())
        table.add_row(*map(escape, cells))
    show_page(table)


def _row(run: RunFolder, status: Status | None) -> dict[str, str]:
    from sweeper.errors import UsageError
    from sweeper.execution.state.status import ENDED
    from sweeper.findings.record import Findings
    from sweeper.findings.verdict.tested import headline_figures

    row = {"name": run.path.name, "status": "planned", "trials": "0"}
    row |= dict.fromkeys(("verdict", "score", "cost"), "")
    if status is not None:
        row["status"] = status.phase if status.phase in ENDED else "running"
        row["trials"] = f"{status.done}/{status.trials}"
    if not run.findings.is_file():  # before its first report
        return row
    try:
        findings = Findings.read(run.findings)
    except UsageError:  # one damaged run hides no other
        return row | {"status": "unreadable", "verdict": f"sweeper report {run.quoted}"}
    told = findings.run
    if status is None:
        row |= {"status": told.status, "trials": f"{told.ended}/{told.trials_asked}"}
    if row["status"] == "complete":
        failed = f", {told.failed} failed" if told.failed else ""
        row["status"] += f"{failed}{'' if findings.baselines else ', no baselines'}"
    score, *costs = headline_figures(findings)[:2] or [None]
    tested = score is not None and score.name.startswith("test ")
    return row | {
        "verdict": findings.verdict.sentence,
        "score": f"{score.text} ({score.detail})" if score and tested else "",
        "cost": str(costs[0]) if costs else "",
    }
