"""How much data, what was lost, what outputs look like: numbers where measured, else the reason."""

from __future__ import annotations

from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import Sample
from sweeper.reporting.blocks import Block, Empty, Fact, SampleCard, SampleList, Section
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.tested import class_blocks

# Longer outputs are cut: a report is read, not searched.
SAMPLE_CHARACTERS = 1200


@section(60)
def data_size_section(report: Report) -> Section:
    """How much data do I need?"""
    block = _empty(report.findings.data_size)
    return Section("data-size", "Data size", "How much data do I need?", (block,))


@section(80)
def samples_section(report: Report) -> Section:
    """What do outputs look like?"""
    samples = report.findings.samples
    block: Block
    if isinstance(samples, NotMeasured):
        block = _empty(samples)
    else:
        cards = tuple(_card(sample) for sample in samples)
        block = SampleList("This section contains text of the data set.", cards)
    blocks = (block, *class_blocks(report))
    return Section("samples", "Samples", "What do outputs look like?", blocks)


def _empty(missing: NotMeasured) -> Empty:
    return Empty("not-measured", missing.reason, missing.command)


def _card(sample: Sample) -> SampleCard:
    parts = [Fact("input", cut(sample.input)), Fact("reference", cut(sample.reference))]
    parts += [Fact(name, cut(text)) for name, text in sample.outputs.items()]
    return SampleCard(sample.kind, tuple(parts))


def cut(text: str) -> str:
    """The text, or its beginning and how much was left out."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    return f"{text[:SAMPLE_CHARACTERS]}… [{len(text) - SAMPLE_CHARACTERS:,} more characters]"
