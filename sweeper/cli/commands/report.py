"""``sweeper report``: writes the report again from the run's folder; trains nothing."""

from __future__ import annotations

from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Show no rows of the data and no answers.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Rebuild report.html, report.md, report.json and the tables of a run.

    Where charts cannot be drawn, the report is written without them, with a warning on stderr; the
    exit code stays 0.
    """
    import webbrowser

    from sweeper.extras import REPORTS, require
    from sweeper.processes.report_maker import ReportMaker, lost_charts
    from sweeper.runfolder import RunFolder
    from sweeper.specfile import resolve
    from sweeper.views.console import err, out

    require("sweeper report", REPORTS)
    folder = RunFolder.find(run)
    texts = not (no_texts or resolve({}, folder.spec).evaluation.no_texts)
    with ReportMaker(folder, texts=texts) as maker:
        findings = maker.finish()
    path = folder.report_html
    out().print(findings.verdict.sentence, markup=False)
    out().print(f"report: {path}", markup=False, soft_wrap=True)
    if maker.no_charts:
        text = f"warning: {lost_charts(folder, maker.no_charts)}"
        err().print(text, markup=False, soft_wrap=True)
    if open_it:
        webbrowser.open(path.resolve().as_uri())
