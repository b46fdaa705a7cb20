"""How far to trust it? The limits of the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.features.parts import Heading
from sweeper.reporting.blocks import Block, Empty, Notes
from sweeper.reporting.document import Report

HEADING = Heading(130, "limits", "Limits", "How far to trust it?")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The limits of the verdict, in numbers, and how to remove them."""
    if report.findings.limits:
        yield Notes(report.findings.limits)
    else:
        yield Empty("no-limits", "None of the limits that sweeper checks for applies here.")
