"""How sure is the verdict? Its limits."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.reporting.blocks import Block, Bullets, Empty, Notes
from sweeper.reporting.document import Report

# Fewest limits that are not folded. Those that could change the verdict and faults of the data are
# never folded.
_MIN_OPEN = 2

HEADING = Heading(40, "limits", "How sure")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The limits of the verdict with their remedies, then notes on seeds and changed rows."""
    limits = sorted(report.findings.limits, key=_rank)
    open_count = max(_MIN_OPEN, sum(_rank(limit) < 2 for limit in limits))
    if limits:
        yield Notes(tuple(limits[:open_count]), tuple(limits[open_count:]))
    else:
        yield Empty("no-limits", "None of the limits that sweeper checks for applies here.")
    changes = [f"Rows changed before training: {change}." for change in report.plan.data.changes]
    if lines := (*_seed_range(report), *changes, *report.confidence):
        yield Bullets(lines)


def _rank(limit: Limitation) -> int:
    """Sort key: first limits that could change the verdict, then faults of the data (with rows)."""
    return 0 if limit.could_change_verdict else 1 if limit.rows is not None else 2


def _seed_range(report: Report) -> Iterator[str]:
    """The range of the test scores of the recommended trial's seeds."""
    findings = report.findings
    finalist = findings.finalist(findings.verdict.recommended_trial)
    scores = [s.test_score for s in finalist.seeds if s.test_score is not None] if finalist else []
    if len(scores) > 1 and finalist:
        low, high = (words.score(end(scores), findings.metric) for end in (min, max))
        seeds = units.plural(len(scores), "seed")
        yield f"{seeds} of trial {finalist.trial}: test {findings.metric.title} {low} to {high}."
