"""The figures of one section of a run, and its blocks, by the section's module."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sweeper.findings.compute import findings_of
from sweeper.findings.study.reading import read_run
from sweeper.reporting.blocks import Block
from sweeper.reporting.document import Report
from sweeper.runfolder import RunFolder


def figures_of(run: RunFolder, section: ModuleType) -> Any:
    """What the section computes of a run."""
    files = read_run(run)
    return section.compute(files, findings_of(files))


def blocks_of(report: Report, section: ModuleType) -> list[Block]:
    """What the section shows of a report."""
    kind = getattr(section, "Figures", None)
    figures = report.figures(section.HEADING.id, kind) if kind else None
    return list(section.blocks(figures, report))
