"""How far to trust it?"""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.reporting.blocks import Block, Bullets, Empty, Notes
from sweeper.reporting.document import Report

# Limits that are shown at once; the one that could change the verdict is always among them.
_SHOWN = 4

HEADING = Heading(40, "limits", "How sure")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The limits of the verdict with their remedies, then seeds, rows and predictions."""
    limits = sorted(report.findings.limits, key=lambda limit: not limit.could_change_verdict)
    shown = max(_SHOWN, sum(limit.could_change_verdict for limit in limits))
    if limits:
        yield Notes(tuple(limits[:shown]), tuple(limits[shown:]))
    else:
        yield Empty("no-limits", "None of the limits that sweeper checks for applies here.")
    changes = [f"Rows changed before training: {change}." for change in report.plan.data.changes]
    if lines := (*_seeds(report), *changes, *report.confidence):
        yield Bullets(lines)


def _seeds(report: Report) -> Iterator[str]:
    """How far the seeds of the chosen trial differ on the test split."""
    findings = report.findings
    finalist = findings.finalist(findings.verdict.recommended_trial)
    scores = [s.test_score for s in finalist.seeds if s.test_score is not None] if finalist else []
    if len(scores) > 1 and finalist:
        low, high = (words.score(end(scores), findings.metric) for end in (min, max))
        seeds = units.plural(len(scores), "seed")
        yield f"{seeds} of trial {finalist.trial}: test {findings.metric.title} {low} to {high}."
