"""Writes a run's report and its siblings, each in one step, the page last."""

from __future__ import annotations

from pathlib import Path

from sweeper.artifact import write_text
from sweeper.findings.record import Findings
from sweeper.plan import Plan
from sweeper.reporting.csvfiles import curves_csv, trials_csv
from sweeper.reporting.document import Report, document
from sweeper.reporting.html import render
from sweeper.reporting.markdown import markdown
from sweeper.reporting.modelcard import model_card
from sweeper.reporting.page import page
from sweeper.runfolder import RunFolder


def write_reports(run: RunFolder, findings: Findings, plan: Plan) -> Path:
    """Write findings, report, tables and model card of a run.

    Returns:
        The path of ``report.html``.

    Raises:
        OSError: The run folder cannot be written; what was there before is still whole.
    """
    report = document(findings, plan)
    findings.write(run.findings)
    report.write(run.path / "report.json")
    write_text(run.path / "trials.csv", trials_csv(findings))
    write_text(run.path / "curves.csv", curves_csv(findings))
    write_text(run.path / "report.md", markdown(report))
    write_text(run.path / "MODEL_CARD.md", model_card(report))
    write_text(run.report_html, html(report))
    return run.report_html


def html(report: Report) -> str:
    """The page of a document: the same document gives the same bytes."""
    return render(page(report))
