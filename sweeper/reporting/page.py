"""From a document to the page: four screens, then folded sections."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from sweeper import units
from sweeper.errors import SweeperError
from sweeper.features.parts import BLOCKS, FIGURES, FINDING, HEADING, Hook
from sweeper.reporting.blocks import Empty, Page, Section, Text
from sweeper.reporting.document import Report, failed
from sweeper.reporting.find_sections import sections as all_sections


def page(report: Report) -> Page:
    """The whole page, in words."""
    run = report.findings.run
    shown = [made for module in all_sections() if (made := _section(module, report))]
    if run.ended and run.failed == run.ended:
        # Nothing else is worth reading first where everything broke.
        shown = [_opened(part) if part.id == "failures" else part for part in shown]
        shown.sort(key=lambda section: (section.id != "verdict", section.id != "failures"))
    if missing := tuple(_missing(report)):
        names = units.joined([block.title.lower() for block in missing])
        shown.append(Section("not-measured", "Not measured", missing, f"{names}."))
    return Page(
        title=f"{run.name}: sweeper report",
        name=run.name,
        verdict=report.findings.verdict.kind,
        head=tuple(_facts(report)),
        banner=banner(report),
        sections=tuple(shown),
        sweeper_version=report.sweeper_version,
        terms=TERMS,
        no_charts=_no_charts(report),
    )


def _opened(section: Section) -> Section:
    return replace(section, finding="", blocks=(Text((section.finding,)), *section.blocks))


def _missing(report: Report) -> Iterator[Empty]:
    """Why sections have no figures, and how to get them."""
    for module in all_sections():
        heading = HEADING.required(module)
        if reason := report.missing.get(heading.id):
            yield Empty("not-measured", reason.reason, reason.command, heading.title)


def _section(module: ModuleType, report: Report) -> Section | None:
    """One section; None where it is left out. One that fails says so, and the others stay."""
    heading, finding = HEADING.required(module), ""
    try:
        finding = finding_of(module, report)
        if FINDING.defined_in(module) and not finding:
            return None
        blocks = tuple(_asked(BLOCKS, module, report) or ())
    except SweeperError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in a section must not cost the report
        finding, blocks = "", (Empty("failed", failed(error).reason),)
    return Section(heading.id, heading.title, blocks, finding) if blocks or finding else None


def finding_of(module: ModuleType, report: Report) -> str:
    """The line of a section that is folded; empty for one that is open or has no figures."""
    return str(_asked(FINDING, module, report) or "")


def _asked(hook: Hook[Any], module: ModuleType, report: Report) -> Any:
    """What a section answers; None if it lacks the hook or its figures."""
    ask, kind = hook.defined_in(module), FIGURES.defined_in(module)
    figures = report.figures(HEADING.required(module).id, kind) if kind else None
    return ask(figures, report) if ask and (figures is not None or not kind) else None


TERMS = {
    "nats/decision": "minus the natural logarithm of the probability of the right class, "
    "averaged over the items",
    "nats/token": "minus the natural logarithm of the probability of each token of the "
    "reference answer, averaged over the tokens",
    "bits/byte": "minus the binary logarithm of the probability of the reference answer, "
    "divided by its bytes",
    "points": "percentage points of a score: from 80% to 82% are 2 points",
    "rung": "a moment of a trial at which it is compared with others, and stopped if it is poor",
    "finalist": "one of the best trials on validation, each strategy's best one first, which "
    "is trained again with other seeds",
    "95% CI": "the range that holds the true value in 95 of 100 such studies",
    "within noise": "the interval of the difference holds 0, or the difference is smaller than "
    "the margin",
    "test split": "rows that are scored once, after the finalists are ranked on validation",
    "seed": "a repetition of the same training with other random numbers",
}
"""The terms of a page, each in one sentence."""


def banner(report: Report) -> str:
    """The notice for a run that has not ended; empty for one that has."""
    run = report.findings.run
    if run.status == "complete":
        return ""
    state = {
        "running": "This sweep is running",
        "timeout": "This sweep reached its time limit or the end of its budget",
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


def _facts(report: Report) -> Iterator[str]:
    run, data = report.findings.run, report.plan.data
    classes = f", {units.plural(data.classes, 'class', 'classes')}" if data.classes else ""
    yield run.task
    yield ", ".join(run.models)
    yield f"{data.path or 'no data'}: {data.rows:,} rows{classes}"
    yield f"{run.ended} of {units.plural(run.trials_asked, 'trial')}"
    yield report.findings.reproduction.hardware
