"""Labels that are written in several ways."""

from __future__ import annotations

from collections import Counter, defaultdict

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow


class LabelVariants(Kind):
    """Labels that differ from a commoner one in case, white space, hyphens or underscores alone."""

    name = "label-variants"
    order = 26
    title = "spell a label otherwise than most rows"
    consequence = "One class becomes two, and each has fewer rows."
    remedy = "writes the commonest spelling"
    severity = "serious"
    safe = True
    compares = "labels"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with one of the rarer spellings."""
        mapping = _mapping(data)
        return [
            Fault(place, f"{row.label!r} is {mapping[row.label]!r}")
            for place, row, _ in data.usable
            if row.label in mapping
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """The rows with the commonest spelling."""
        mapping = _mapping(data)
        rows = {fault.place: data.rows[fault.place] for fault in faults}
        return {place: data.with_label(row, mapping[row.label]) for place, row in rows.items()}


def _mapping(data: DataRows) -> dict[str, str]:
    counts = Counter(row.label for _, row, _ in data.usable if row.label)
    alike: dict[str, list[str]] = defaultdict(list)
    for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        alike[folded(label)].append(label)
    return {rare: same[0] for same in alike.values() for rare in same[1:]}
