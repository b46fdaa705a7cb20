"""Finds the sections of a report, and builds its page: open sections, then folded ones.

Sections are those of the core in ``sections/``, and those of features.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import sweeper.reporting.sections as folder
from sweeper import units
from sweeper.errors import SweeperError
from sweeper.features import loader
from sweeper.features.parts import BLOCKS, FIGURES, FINDING, HEADING, Hook
from sweeper.reporting.blocks import Empty, Page, Section, Text
from sweeper.reporting.document import Report, not_computed


def page(report: Report) -> Page:
    """The page with all its texts."""
    run = report.findings.run
    shown_sections = [section for module in sections() if (section := _section(module, report))]
    if run.ended and run.failed == run.ended:
        # If all trials failed, the failures come right after the verdict.
        shown_sections = [
            _unfolded_section(part) if part.id == "failures" else part for part in shown_sections
        ]
        shown_sections.sort(key=lambda section: (section.id != "verdict", section.id != "failures"))
    if missing_blocks := tuple(_missing_blocks(report)):
        names = units.joined([block.title.lower() for block in missing_blocks])
        shown_sections.append(Section("not-measured", "Not measured", missing_blocks, f"{names}."))
    return Page(
        title=f"{run.name}: sweeper report",
        name=run.name,
        verdict=report.findings.verdict.kind,
        head=tuple(_facts(report)),
        banner=banner(report),
        sections=tuple(shown_sections),
        sweeper_version=report.sweeper_version,
        terms=TERMS,
        no_charts=_no_charts(report),
    )


def _unfolded_section(section: Section) -> Section:
    return replace(section, finding="", blocks=(Text((section.finding,)), *section.blocks))


def _missing_blocks(report: Report) -> Iterator[Empty]:
    """The reasons why sections have no figures, and the commands that compute them."""
    for module in sections():
        heading = HEADING.required(module)
        if reason := report.missing.get(heading.id):
            yield Empty("not-measured", reason.reason, reason.command, heading.title)


def _section(module: ModuleType, report: Report) -> Section | None:
    """One section, which shows its error if its module raises one; None if it is left out."""
    heading, finding = HEADING.required(module), ""
    try:
        finding = finding_of(module, report)
        if FINDING.defined_in(module) and not finding:
            return None
        blocks = tuple(_call_hook(BLOCKS, module, report) or ())
    except SweeperError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in a section must not cost the report
        finding, blocks = "", (Empty("failed", not_computed(error).reason),)
    return Section(heading.id, heading.title, blocks, finding) if blocks or finding else None


def finding_of(module: ModuleType, report: Report) -> str:
    """The line of a folded section; empty for an open section or one without figures."""
    return str(_call_hook(FINDING, module, report) or "")


def _call_hook(hook: Hook[Any], module: ModuleType, report: Report) -> Any:
    """The result of a section's hook; None if it has no such hook or no figures."""
    function, kind = hook.defined_in(module), FIGURES.defined_in(module)
    figures = report.figures(HEADING.required(module).id, kind) if kind else None
    return function(figures, report) if function and (figures is not None or not kind) else None


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
"""The explained terms of a page."""


def banner(report: Report) -> str:
    """The notice for a run that is not complete; else empty."""
    run = report.findings.run
    if run.status == "complete":
        return ""
    state = {
        "running": "This sweep is running",
        "timeout": "This sweep reached its time limit or the end of its budget",
        "failed": f"This sweep failed ({run.failed_because or 'see its log'})",
    }.get(run.status, "This sweep was interrupted")
    requested = units.plural(run.trials_asked, "trial")
    return f"{state}: {run.ended} of {requested}; results may change."


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


@cache
def sections() -> tuple[ModuleType, ...]:
    """The modules of all sections in their order.

    Raises:
        ValueError: Two sections have the same order or id.
    """
    names = (module.name for module in pkgutil.iter_modules(folder.__path__))
    core = (importlib.import_module(f"{folder.__name__}.{n}") for n in names if n[0] != "_")
    return in_order(
        [*core, *(feature.load("section") for feature in loader.features_with("section"))]
    )


def in_order(modules: list[ModuleType]) -> tuple[ModuleType, ...]:
    """Modules of sections, in the order of their headings.

    Raises:
        ValueError: Two sections have the same order or id.
    """
    by_key: dict[object, ModuleType] = {}
    for module in modules:
        heading = HEADING.required(module)
        for key in (heading.order, heading.id):
            if (other_module := by_key.setdefault(key, module)) is not module:
                module_names = f"{other_module.__name__} and {module.__name__}"
                raise ValueError(f"{module_names} have the same order or id in the report: {key}")
    return tuple(sorted(modules, key=lambda module: HEADING.required(module).order))
