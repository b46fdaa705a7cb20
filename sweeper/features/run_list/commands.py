"""``sweeper list``: the runs in a folder, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import AsJson

if TYPE_CHECKING:
    from sweeper.execution.state.status import Status
    from sweeper.findings.record import Findings
    from sweeper.runfolder import RunFolder

ORDER = 140
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
    from sweeper.views.console import out, say

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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in rows[0]:
        table.add_column(heading, no_wrap=heading not in ("score", "verdict"), overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.values()))
    out().print(table)


def _row(run: RunFolder, status: Status | None) -> dict[str, str]:
    from sweeper.errors import UsageError
    from sweeper.execution.state.status import ENDED
    from sweeper.findings.record import Findings

    row = {"name": run.path.name, "status": "planned", "trials": "0", "score": "", "verdict": ""}
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
    return row | {"score": _score(findings), "verdict": findings.verdict.sentence}


def _score(findings: Findings) -> str:
    """The headline figure on the test split of what is recommended, with its interval."""
    from sweeper.findings import words

    told, metric = findings.verdict, findings.metric
    wanted = told.recommended_baseline or f"trial-{told.recommended_trial}"
    model = next((one for one in findings.tested if one.name == wanted), None)
    if model is None:
        return ""
    whose = f" ({model.title})" if told.recommended_baseline else ""
    return f"test {metric.title} {words.score_with_interval(model.score, metric)}{whose}"
