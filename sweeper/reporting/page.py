"""From a document to the page: sections in the order of the reader's questions."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from types import ModuleType

from sweeper import units
from sweeper.errors import SweeperError
from sweeper.features.parts import BLOCKS, FIGURES, HEADING
from sweeper.reporting.blocks import Block, Empty, FactList, NamedFact, Page, Section
from sweeper.reporting.discovery import sections as all_sections
from sweeper.reporting.document import Report, failed


def page(report: Report) -> Page:
    """The whole page, in words."""
    run, limits = report.findings.run, len(report.findings.limits)
    sections = [shown for module in all_sections() if (shown := _section(module, report))]
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


def _section(module: ModuleType, report: Report) -> Section | None:
    """One section; None where it is left out. One that fails says so, and the others stay."""
    heading = HEADING.required(module)
    missing, blocks = report.missing.get(heading.id), tuple[Block, ...]()
    try:
        blocks = () if missing else tuple(_blocks(module, heading.id, report))
    except SweeperError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in a section must not cost the report
        missing = failed(error)
    if missing:
        blocks = (Empty("not-measured", missing.reason, missing.command),)
    return Section(heading.id, heading.title, heading.question, blocks) if blocks else None


def _blocks(module: ModuleType, name: str, report: Report) -> Iterable[Block]:
    kind, blocks = FIGURES.defined_in(module), BLOCKS.defined_in(module)
    figures = report.figures(name, kind) if kind else None
    return blocks(figures, report) if blocks and (figures is not None or not kind) else ()


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
