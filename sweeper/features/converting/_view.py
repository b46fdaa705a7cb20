"""What became of a data set that was divided or converted, on the terminal."""

from __future__ import annotations

from collections import Counter

from sweeper.data.groups import widest_gap
from sweeper.data.problems import listing
from sweeper.features.converting._steps import ConvertedFiles, DivisionFiles
from sweeper.units import plural
from sweeper.views.console import out


def show_division(made: DivisionFiles) -> None:
    """Rows of each split, and how far class shares differ."""
    total = sum(made.rows.values())
    for split, rows in made.rows.items():
        kept = " (as the data had it)" if split in made.official else ""
        _line(f"{split:<11}{rows:>9,} rows {rows / total:6.1%}{kept}")
    if any(made.labels.values()):
        labels = {split: [*Counter(counts).elements()] for split, counts in made.labels.items()}
        gap = widest_gap(labels)
        classes = {label for counts in made.labels.values() for label in counts}
        _line(f"{len(classes)} classes; shares differ by up to {gap[0]:.1%} ({gap[1]!r}, {gap[2]})")
        for split, counts in made.labels.items():
            if lacking := sorted(classes - counts.keys()):
                _line(f"  {split} lacks {listing([repr(label) for label in lacking])}")
    if made.unreadable:
        lines = listing([str(line) for line in made.unreadable])
        _line(f"In no file, since they cannot be read: {len(made.unreadable):,} (line {lines})")
    _line(f"Written: {made.output}")


def show_conversion(made: ConvertedFiles) -> None:
    """What was written, and what was not."""
    for reason, lines in made.left_out.items():
        where = listing([str(line) for line in lines])
        _line(f"{plural(len(lines), 'row is', 'rows are')} not written: {reason} (line {where})")
    if made.left_columns:
        names = listing([f"`{name}`" for name in made.left_columns])
        _line(f"Columns not written, since they would be read as part of {made.format}: {names}")
    _line(f"Written: {listing(made.files)}")


def _line(text: str) -> None:
    out().print(text, markup=False, soft_wrap=True)
