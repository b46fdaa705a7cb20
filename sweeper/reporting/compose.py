"""Composes the report of a run, and the page of a report, from the modules of sections.

Sections are those of the core in ``sections/``, and those of features. On the page, open sections
come before folded ones.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any

import sweeper.reporting.sections as folder
from sweeper import __version__, units
from sweeper.artifact import Record
from sweeper.errors import SweeperError
from sweeper.features import loader
from sweeper.features.parts import (
    ADVISE,
    BECAUSE,
    BLOCKS,
    CARD,
    COMPUTE,
    CONFIDENCE,
    FIGURES,
    FINDING,
    HEADING,
    LIMITS,
    Hook,
)
from sweeper.findings.compute import findings_of
from sweeper.findings.findings import Findings, Limitation, NextStep, NotMeasured, RunSummary
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.verdict.next_step import next_step
from sweeper.plans import Plan
from sweeper.reporting.blocks import Empty, Page, Section, Text
from sweeper.reporting.document import PlanExcerpt, PlannedData, Report
from sweeper.runfolder import RunFolder

# Fields of a report for sentences of sections, and the hooks that return them.
_SENTENCES = {"because": BECAUSE, "confidence": CONFIDENCE, "card": CARD}
TERMS = {
    "nats/decision": "minus the natural logarithm of the probability of the right class, "
    "averaged over the items",
    "nats/token": "minus the natural logarithm of the probability of each token of the "
    "reference answer, averaged over the tokens",
    "bits/byte": "minus the binary logarithm of the probability of the reference answer, "
    "divided by its bytes",
    "points": "percentage points of a score: from 80% to 82% are 2 points",
    "rung": "a point of a training at which the trial is compared with others, and stopped if poor",
    "finalist": "one of the best trials on validation, each strategy's best one first, which "
    "is trained again with other seeds",
    "95% CI": "the range that contains the true value in 95 of 100 such studies",
    "within noise": "the interval of the difference contains 0, or the difference is smaller than "
    "the margin",
    "test split": "rows that are scored once, after the finalists are ranked on validation",
    "seed": "a repetition of the same training with other random numbers",
}
"""Terms of a page with their meanings, which tooltips show."""


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


@dataclass(frozen=True)
class _SectionResult:
    """A section's figures and sentences about a run, or why it has none."""

    id: str
    figures: Record | None = None
    missing: NotMeasured | None = None
    sentences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limits: tuple[Limitation, ...] = ()
    step: NextStep | None = None


def report_of(folder: RunFolder, no_charts: str = "", *, texts: bool = True) -> Report:
    """The report of a run in any state.

    The same files give the same report: random draws are seeded, and only the folder is read.

    Args:
        no_charts: Reason to leave out charts; empty to draw them.
        texts: Whether the report may show rows and answers.

    Raises:
        UsageError: The folder has no plan that this sweeper can read.
    """
    run = read_run(folder, texts=texts)
    findings = findings_of(run)
    results = [_section_result(module, run, findings) for module in sections()]
    limits = (*findings.limits, *(limit for result in results for limit in result.limits))
    findings = findings.model_copy(update={"limits": limits})
    step = next_step(findings, (result.step for result in results if result.step))
    return Report(
        sweeper_version=__version__,
        findings=findings.model_copy(update={"next_step": step}),
        plan=_excerpt(run.plan),
        sections={
            result.id: result.figures.model_dump(mode="json")
            for result in results
            if result.figures
        },
        missing={result.id: result.missing for result in results if result.missing},
        no_charts=no_charts,
        **{
            name: tuple(text for result in results for text in result.sentences.get(name, ()))
            for name in _SENTENCES
        },
    )


def _section_result(module: ModuleType, run: RunFiles, findings: Findings) -> _SectionResult:
    """The result of one section. If it raises, only its own figures are missing."""
    name, compute = HEADING.required(module).id, COMPUTE.defined_in(module)
    try:
        figures = compute(run, findings) if compute else None
        if isinstance(figures, NotMeasured):
            return _SectionResult(name, missing=figures)
        if compute and figures is None:
            return _SectionResult(name)
        limits, advise = LIMITS.defined_in(module), ADVISE.defined_in(module)
        return _SectionResult(
            name,
            figures,
            sentences={
                kind: tuple(hook.required(module)(figures, findings))
                for kind, hook in _SENTENCES.items()
                if hook.defined_in(module)
            },
            limits=tuple(limits(figures, findings)) if limits else (),
            step=advise(figures, findings) if advise else None,
        )
    except SweeperError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in a section must not cost the report
        return _SectionResult(name, missing=_not_computed(error))


def _excerpt(plan: Plan) -> PlanExcerpt:
    """The part of a plan that a report shows."""
    facts, data = plan.facts, plan.facts.data
    return PlanExcerpt.taken_from(
        plan,
        device=facts.hardware.device,
        hardware=facts.hardware.name,
        memory_limit_gib=facts.hardware.memory_gib,
        data=PlannedData.taken_from(
            data, classes=len(data.labels), changes=tuple(change.summary for change in data.changes)
        ),
        strategies=plan.candidates,
        objective=plan.objective.model_copy(update={"folder": ""}),
    )


def _not_computed(error: Exception) -> NotMeasured:
    """The reason in the report for a section that raised an error."""
    return NotMeasured(reason=f"This could not be computed: {type(error).__name__}: {error}")


def page(report: Report) -> Page:
    """The page with all its texts."""
    run = report.findings.run
    shown_sections = [section for module in sections() if (section := _section(module, report))]
    if run.ended and run.failed == run.ended:
        # If all trials failed, the failures come right after the verdict.
        shown_sections = [
            _unfolded(section) if section.id == "failures" else section
            for section in shown_sections
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


def _unfolded(section: Section) -> Section:
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
        finding, blocks = "", (Empty("failed", _not_computed(error).reason),)
    return Section(heading.id, heading.title, blocks, finding) if blocks or finding else None


def finding_of(module: ModuleType, report: Report) -> str:
    """The line of a folded section; empty for an open section or one without figures."""
    return str(_call_hook(FINDING, module, report) or "")


def _call_hook(hook: Hook[Any], module: ModuleType, report: Report) -> Any:
    """The result of a section's hook; None if it has no such hook or no figures."""
    function, kind = hook.defined_in(module), FIGURES.defined_in(module)
    figures = report.figures(HEADING.required(module).id, kind) if kind else None
    return function(figures, report) if function and (figures is not None or not kind) else None


def banner(report: Report) -> str:
    """The notice of a run that is not complete; empty for a complete one."""
    run = report.findings.run
    if run.status == "complete":
        return ""
    state = {
        "running": "This sweep is running",
        "timeout": "This sweep reached its time limit or the end of its budget",
        "failed": f"This sweep failed ({run.failed_because or 'see its log'})",
    }.get(run.status, "This sweep was interrupted")
    return f"{state}: {_ended(run)}; results may change."


def _ended(run: RunSummary) -> str:
    return f"{run.ended} of {units.plural(run.trials_requested, 'trial')}"


def _no_charts(report: Report) -> str:
    """The notice of a page without charts; empty for a page with charts."""
    if not report.no_charts:
        return ""
    command = f"sweeper report {shlex.quote(report.findings.run.place)}"
    return (
        f"The charts could not be drawn ({report.no_charts}); draw them later with: {command}. "
        "Their numbers are in the tables."
    )


def _facts(report: Report) -> Iterator[str]:
    """Task, base models, data, progress and machine, for the head of the page."""
    run, data = report.findings.run, report.plan.data
    classes = f", {units.plural(data.classes, 'class', 'classes')}" if data.classes else ""
    yield run.task
    yield ", ".join(run.models)
    yield f"{data.path or 'no data'}: {data.rows:,} rows{classes}"
    yield _ended(run)
    yield report.findings.reproduction.hardware
