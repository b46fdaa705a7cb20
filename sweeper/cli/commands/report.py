"""``sweeper report``: write the report again from what a run left, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def find_run(run: str) -> Path:
    """The folder of a run that was named by its name or its path.

    Raises:
        RunError: There is no such run; the nearest name is given.
    """
    from sweeper.errors import RunError, near_match

    for folder in (Path(run), Path("runs") / run):
        if (folder / "plan.json").is_file():
            return folder
    known = [plan.parent.name for plan in Path("runs").glob("*/plan.json")]
    fix = near_match(run, known) if known else "Start one with 'sweeper run'."
    raise RunError(f"there is no run {run!r} here", why="No plan.json in it.", fix=fix)


def report(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Rebuild report.html, report.md, report.json and the tables of a run.

    Where charts cannot be drawn, the report is written without them, with a warning on stderr; the
    exit code stays 0.
    """
    import webbrowser

    from sweeper.cli.processes.report_maker import ReportMaker, lost_charts
    from sweeper.cli.views.console import err, out
    from sweeper.extras import REPORTS, require
    from sweeper.runfolder import RunFolder

    require("sweeper report", REPORTS)
    folder = RunFolder(find_run(run))
    with ReportMaker(folder) as maker:
        findings = maker.finish()
    path = folder.report_html
    out().print(findings.verdict.sentence, markup=False)
    out().print(f"report: {path}", markup=False, soft_wrap=True)
    if maker.no_charts:
        text = f"warning: {lost_charts(folder, maker.no_charts)}"
        err().print(text, markup=False, soft_wrap=True)
    if open_it:
        webbrowser.open(path.resolve().as_uri())
