"""``sweeper list``: the runs in a folder, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def list_runs(
    root: Annotated[Path, typer.Option("--runs", help="The folder that holds runs.")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs here: how far they are and what they found."""
    import json

    from rich.markup import escape
    from rich.table import Table

    from sweeper.cli.console import out
    from sweeper.findings.record import Findings
    from sweeper.runfolder import RunFolder

    runs = [RunFolder(plan.parent) for plan in sorted(root.glob("*/plan.json"))]
    rows = []
    for run in runs:
        findings = Findings.read(run.findings) if run.findings.is_file() else None
        rows.append(
            {
                "name": run.path.name,
                "status": findings.run.status if findings else "planned",
                "trials": f"{findings.run.ended}/{findings.run.trials_asked}" if findings else "0",
                "verdict": findings.verdict.sentence if findings else "",
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        out().print(f"No runs in {root}. Start one with 'sweeper run'.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in rows[0]:
        table.add_column(heading, no_wrap=heading != "verdict")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.values()))
    out().print(table)
