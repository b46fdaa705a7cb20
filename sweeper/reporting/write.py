"""Writes a run's report and its sibling files atomically, the page last."""

from __future__ import annotations

from contextlib import suppress

from sweeper.findings.verdict.headline import scoreboard
from sweeper.reporting.charts.draw import NotDrawn
from sweeper.reporting.charts.forest import forest, pictures
from sweeper.reporting.compose import page
from sweeper.reporting.csvfiles import csv_text, curves_table, trials_table
from sweeper.reporting.document import Report
from sweeper.reporting.render import light_colors, markdown, model_card, render
from sweeper.runfolder import RunFolder
from sweeper.safe_text import clean
from sweeper.textfiles import replacing, write_text


def write_report(run: RunFolder, report: Report) -> Report:
    """Write findings, report, tables and model card of a run, without secrets and host names.

    Returns:
        The written report; it has no charts if the drawing engine failed.

    Raises:
        OSError: The run folder cannot be written; existing files stay complete.
    """
    report = report.cleaned()
    findings = report.findings
    findings.write(run.findings)
    write_text(run.path / "trials.csv", csv_text(trials_table(findings)))
    write_text(run.path / "curves.csv", csv_text(curves_table(findings)))
    write_text(run.path / "report.md", markdown(report))
    write_text(run.path / "MODEL_CARD.md", model_card(report))
    # Drawing may end the process, so files without charts are written first.
    report, text = _render_page(report)
    report.write(run.report)
    _write_forest(run, report)
    write_text(run.report_html, text)
    return report


def _write_forest(run: RunFolder, report: Report) -> None:
    """Write ``forest.svg`` and ``forest.png``, the verdict's plot for slides and pull requests."""
    title = report.findings.verdict.answer
    plot = forest(scoreboard(report.findings), title)
    if plot is None or report.no_charts:
        return
    with suppress(NotDrawn):
        svg, png = pictures(plot, title, light_colors())
        write_text(run.path / "forest.svg", svg)
        with replacing(run.path / "forest.png") as part:
            part.write_bytes(png)


def _render_page(report: Report) -> tuple[Report, str]:
    """The report and its page; both are without charts if one of these cannot be drawn."""
    try:
        return report, html(report)
    except NotDrawn as error:
        reason = clean(f"the drawing engine said: {error}")
        without_charts = report.model_copy(update={"no_charts": reason})
        return without_charts, html(without_charts)


def html(report: Report) -> str:
    """The page of a report as HTML; equal reports give equal bytes.

    Raises:
        NotDrawn: A chart could not be drawn.
    """
    return render(page(report))
