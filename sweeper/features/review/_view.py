"""Prints reviews."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from sweeper.features.review._case import fix_sentence
from sweeper.features.review._record import Finding, Review
from sweeper.units import duration, gib, span
from sweeper.views.console import sections, show_page


def show(review: Review) -> None:
    """Print the figures, the findings, the gains and the patch of a review."""
    parts = [
        ("File", [f"{review.file}: {review.format}, {_fields(review)}"]),
        ("Memory", [_memory(review)]),
        ("Time", [_time(review)]),
        ("Assumed", list(review.assumed)),
        *((finding.level.capitalize(), [_finding_text(finding)]) for finding in review.findings),
        (
            "Gains",
            [_gain(gain.what, gain.saved, fix_sentence(gain.change)) for gain in review.gains],
        ),
    ]
    show_page(Group(sections(parts), Text(f"\n{review.patch}") if review.patch else Text()))


def _fields(review: Review) -> str:
    understood = f"{review.understood} of {review.fields} fields understood"
    unknown = ", ".join(review.unknown)
    return f"{understood}; unknown: {unknown}" if unknown else understood


def _memory(review: Review) -> str:
    if review.memory is None:
        return ""
    memory_range = f"{gib(review.memory.low_gib)} to {gib(review.memory.high_gib)} on each GPU"
    if review.fits is None:
        return memory_range
    return (
        f"{memory_range}: {'fits' if review.fits else 'may not fit'} {gib(review.memory.limit_gib)}"
    )


def _time(review: Review) -> str:
    if review.seconds is None:
        return f"{review.steps:,} steps" if review.steps else ""
    time = review.seconds
    text = f"{duration(time.seconds)} ({span(time.low, time.high)}) for {review.steps:,} steps"
    if review.cost_usd is not None:
        low, middle, high = review.cost_usd
        text += f", {middle:,.2f} USD ({low:,.2f} to {high:,.2f})"
    return text


def _finding_text(finding: Finding) -> str:
    where = f"{finding.file}:{finding.line} " if finding.line else ""
    source = f"Source: {finding.source}." if finding.source else ""
    what = f"{where}[{finding.kind}] {finding.what}."
    return " ".join(filter(None, (what, finding.why, finding.fix, source)))


def _gain(what: str, saved: float | None, change: str) -> str:
    return f"{change} {what}" + ("" if saved is None else f": {saved:.0%} less time")
