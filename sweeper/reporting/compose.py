"""Composes the report of a run: the verdict, the sections, and their additions to the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

from sweeper import __version__
from sweeper.artifact import Record
from sweeper.errors import SweeperError
from sweeper.features.parts import ADVISE, BECAUSE, CARD, COMPUTE, CONFIDENCE, HEADING, LIMITS
from sweeper.findings.compute import findings_of
from sweeper.findings.findings import Findings, Limitation, NextStep, NotMeasured
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.verdict.next_step import next_step
from sweeper.reporting.document import Report, not_computed, plan_for_report
from sweeper.reporting.page import sections
from sweeper.runfolder import RunFolder

# Sentences below the verdict, among its limits, and in MODEL_CARD.md.
_SENTENCES = {"because": BECAUSE, "confidence": CONFIDENCE, "card": CARD}


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
        plan=plan_for_report(run.plan),
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
        return _SectionResult(name, missing=not_computed(error))
