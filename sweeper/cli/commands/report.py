"""``sweeper report``: writes the report again from the run's folder, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sweeper.runfolder import RunFolder

ORDER = 30
commands = typer.Typer()


@commands.command("report")
def report(
    runs: Annotated[list[str], typer.Argument(help="Names or folders of runs.", metavar="RUN...")],
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Show no rows of the data and no answers.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File for the page. By default comparison.html for several runs."
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Rebuild report.html, report.md, report.json and the tables of a run.

    With several runs, write one page that compares them: settings that differ, and the winners.

    If charts cannot be drawn, the report is written without them, with a warning. The exit code
    is still 0.
    """
    import shutil
    import webbrowser

    from sweeper.errors import UsageError
    from sweeper.packages import REPORTS, require
    from sweeper.processes.report_maker import ReportMaker, shows_texts
    from sweeper.runfolder import RunFolder
    from sweeper.views.console import say, show_line
    from sweeper.views.verdict_view import verdict_lines

    require("sweeper report", REPORTS)
    folders = {folder.path.resolve(): folder for folder in map(RunFolder.find, runs)}
    folder, *others = folders.values()
    if len(runs) > 1 and not others:
        fix = "A comparison needs different runs. Name another one, or this one once."
        raise UsageError(f"{folder.path.name} is given {len(runs)} times", fix=fix)
    if others and as_json:
        fix = "Leave out --json, or name one run."
        raise UsageError("--json prints the findings of one run", fix=fix, where="--json")
    if others:
        path = output or Path("comparison.html")
        _compare([folder, *others], path)
        if open_it:
            webbrowser.open(path.resolve().as_uri())
        return
    with ReportMaker(folder, texts=shows_texts(folder) and not no_texts) as maker:
        report = maker.finish()
    path = output or folder.report_html
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.report_html, output)
    if as_json:
        typer.echo(report.findings.to_json(), nl=False)
    else:
        for line in verdict_lines(report.findings, report.findings.next_step, report.because):
            show_line(line)
        show_line(f"report: {path}")
    if maker.warning:
        say(f"warning: {maker.warning}")
    if open_it:
        webbrowser.open(path.resolve().as_uri())


def _compare(folders: list[RunFolder], path: Path) -> None:
    """Write the page that compares several runs, and print its summary.

    Raises:
        UsageError: No installed feature compares runs.
    """
    from sweeper.errors import UsageError
    from sweeper.features.parts import COMPARE
    from sweeper.views.console import show_line

    _, compare = next(COMPARE.all(), ("", None))
    if compare is None:
        raise UsageError("no installed feature compares runs", fix="Name one run.")
    for line in compare(folders, path):
        show_line(line)
    show_line(f"comparison: {path}")
