"""From a run to its report: the verdict, then the sections, then what they add to the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

from sweeper import __version__
from sweeper.artifact import Record
from sweeper.errors import SweeperError
from sweeper.features.parts import (
    ADVISE,
    BECAUSE,
    CARD,
    COMPUTE,
    CONFIDENCE,
    HEADING,
    LIMITS,
)
from sweeper.findings.compute import findings_of
from sweeper.findings.figures import NotMeasured
from sweeper.findings.findings import Findings, Limitation, NextStep
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.verdict.next_step import next_step
from sweeper.reporting.document import Report, failed, shown
from sweeper.reporting.find_sections import sections
from sweeper.runfolder import RunFolder

_SENTENCES = {"because": BECAUSE, "confidence": CONFIDENCE, "card": CARD}


@dataclass(frozen=True)
class _Answer:
    """What a section made of a run, or why it could not."""

    id: str
    figures: Record | None = None
    missing: NotMeasured | None = None
    sentences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limits: tuple[Limitation, ...] = ()
    step: NextStep | None = None


def report_of(folder: RunFolder, no_charts: str = "", *, texts: bool = True) -> Report:
    """The report of a run in any state.

    The same files give the same report: every draw is seeded and nothing is read but the folder.

    Args:
        no_charts: Why charts are left out; empty to draw them.
        texts: Whether it may show rows and answers.

    Raises:
        UsageError: The folder has no plan that this sweeper can read.
    """
    run = read_run(folder, texts=texts)
    findings = findings_of(run)
    answers = [_answer(module, run, findings) for module in sections()]
    limits = (*findings.limits, *(limit for answer in answers for limit in answer.limits))
    findings = findings.model_copy(update={"limits": limits})
    step = next_step(findings, (answer.step for answer in answers if answer.step))
    return Report(
        sweeper_version=__version__,
        findings=findings.model_copy(update={"next_step": step}),
        plan=shown(run.plan),
        sections={
            answer.id: answer.figures.model_dump(mode="json")
            for answer in answers
            if answer.figures
        },
        missing={answer.id: answer.missing for answer in answers if answer.missing},
        no_charts=no_charts,
        **{
            name: tuple(text for answer in answers for text in answer.sentences.get(name, ()))
            for name in _SENTENCES
        },
    )


def _answer(module: ModuleType, run: RunFiles, findings: Findings) -> _Answer:
    """Ask one section. If it fails, that costs its own figures."""
    name, compute = HEADING.required(module).id, COMPUTE.defined_in(module)
    try:
        figures = compute(run, findings) if compute else None
        if isinstance(figures, NotMeasured):
            return _Answer(name, missing=figures)
        if compute and figures is None:
            return _Answer(name)
        limits, advise = LIMITS.defined_in(module), ADVISE.defined_in(module)
        return _Answer(
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
        return _Answer(name, missing=failed(error))
