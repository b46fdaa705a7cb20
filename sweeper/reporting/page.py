"""From a document to the page: sections in the order of the reader's questions."""

from __future__ import annotations

import shlex

from sweeper import units
from sweeper.reporting.blocks import FactList, NamedFact, Page
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import sections as all_sections


def page(report: Report) -> Page:
    """The whole page, in words."""
    run, limits = report.findings.run, len(report.findings.limits)
    sections = [made for build in all_sections() if (made := build(report)) is not None]
    if run.ended and run.failed == run.ended:
        # Nothing else is worth reading first where everything broke.
        sections.sort(key=lambda section: (section.id != "verdict", section.id != "failures"))
    return Page(
        title=f"{run.name}: sweeper report",
        name=run.name,
        verdict=report.findings.verdict.kind,
        head=FactList(_facts(report)),
        limits_text=units.plural(limits, "limit applies", "limits apply") if limits else "",
        banner=banner(report),
        sections=tuple(sections),
        sweeper_version=report.sweeper_version,
        no_charts=_no_charts(report),
    )


def banner(report: Report) -> str:
    """The notice for a run that has not ended; empty for one that has."""
    run = report.findings.run
    if run.status == "complete":
        return ""
    state = {
        "running": "This sweep is running",
        "timeout": "This sweep reached its time limit",
        "failed": f"This sweep failed ({run.failed_because or 'see its log'})",
    }.get(run.status, "This sweep was interrupted")
    asked = units.plural(run.trials_asked, "trial")
    return f"{state}: {run.ended} of {asked}; results may change."


def _no_charts(report: Report) -> str:
    if not report.no_charts:
        return ""
    command = f"sweeper report {shlex.quote(report.findings.run.place)}"
    return (
        f"The charts could not be drawn ({report.no_charts}); draw them later with: {command}. "
        "Their numbers are in the tables."
    )


def _facts(report: Report) -> tuple[NamedFact, ...]:
    run, plan = report.findings.run, report.plan
    data = plan.data
    classes = f", {units.plural(data.classes, 'class', 'classes')}" if data.classes else ""
    counts = f"{run.complete} complete, {run.pruned} pruned, {run.failed} failed"
    facts = [
        NamedFact("task", run.task, "/findings/run/task"),
        NamedFact("base model", ", ".join(run.models)),
        NamedFact("data", f"{data.path or 'not given'}: {data.rows:,} rows{classes}"),
        NamedFact("trials", f"{run.ended} of {run.trials_asked}: {counts}"),
        NamedFact("hardware", report.findings.reproduction.hardware),
    ]
    if run.started_at:
        spent = units.duration(run.training_seconds)
        facts.append(NamedFact("started", f"{run.started} UTC, {spent} of training"))
    return tuple(facts)
