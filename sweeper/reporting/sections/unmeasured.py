"""How much data, what was lost, what outputs look like: numbers where measured, else the reason."""

from __future__ import annotations

from sweeper.findings.figures import NotMeasured
from sweeper.reporting.blocks import Empty, Section
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.tested import class_blocks


@section(60)
def data_size_section(report: Report) -> Section:
    """How much data do I need?"""
    block = _empty(report.findings.data_size)
    return Section("data-size", "Data size", "How much data do I need?", (block,))


@section(80)
def samples_section(report: Report) -> Section:
    """What do outputs look like?"""
    blocks = (_empty(report.findings.samples), *class_blocks(report))
    return Section("samples", "Samples", "What do outputs look like?", blocks)


def _empty(missing: NotMeasured) -> Empty:
    return Empty("not-measured", missing.reason, missing.command)
