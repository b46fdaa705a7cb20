"""Shows the result of a division or conversion on the terminal."""

from __future__ import annotations

from collections import Counter

from sweeper.data.groups import widest_gap
from sweeper.data.problems import listing
from sweeper.features.converting._steps import ConvertedFiles, DivisionFiles
from sweeper.units import plural
from sweeper.views.console import out


def show_division(division: DivisionFiles) -> None:
    """Show the rows of each split, and how far class shares differ."""
    total = sum(division.rows.values())
    for split, rows in division.rows.items():
        origin = " (as the data had it)" if split in division.official else ""
        _line(f"{split:<11}{rows:>9,} rows {rows / total:6.1%}{origin}")
    if any(division.labels.values()):
        labels = {split: [*Counter(counts).elements()] for split, counts in division.labels.items()}
        gap = widest_gap(labels)
        classes = {label for counts in division.labels.values() for label in counts}
        _line(f"{len(classes)} classes; shares differ by up to {gap[0]:.1%} ({gap[1]!r}, {gap[2]})")
        for split, counts in division.labels.items():
            if missing_classes := sorted(classes - counts.keys()):
                _line(f"  {split} lacks {listing([repr(label) for label in missing_classes])}")
    if division.unreadable:
        lines = listing([str(line) for line in division.unreadable])
        _line(f"In no file, since they cannot be read: {len(division.unreadable):,} (line {lines})")
    _line(f"Written: {division.output}")


def show_conversion(converted: ConvertedFiles) -> None:
    """Show what was written, and what was left out."""
    for reason, lines in converted.left_out.items():
        numbers = listing([str(line) for line in lines])
        _line(f"{plural(len(lines), 'row is', 'rows are')} not written: {reason} (line {numbers})")
    if converted.left_columns:
        names = listing([f"`{name}`" for name in converted.left_columns])
        _line(
            f"Columns not written, since they would be read as part of {converted.format}: {names}"
        )
    _line(f"Written: {listing(converted.files)}")


def _line(text: str) -> None:
    out().print(text, markup=False, soft_wrap=True)
