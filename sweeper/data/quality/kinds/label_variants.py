"""Labels that are written in several ways."""

from __future__ import annotations

from collections import Counter, defaultdict

from sweeper.data.labels import folded
from sweeper.data.quality.kinds.renamed import RenamedLabels
from sweeper.data.quality.rows import DataRows


class LabelVariants(RenamedLabels):
    """Labels that differ from a commoner one in case, white space, hyphens or underscores alone."""

    name = "label-variants"
    order = 26
    title = "spell a label differently from most rows"
    consequence = "One class becomes two, and each has fewer rows."
    remedy = "writes the most common spelling"
    severity = "serious"
    safe = True
    in_plan = True
    compares = "labels"

    def renamed(self, data: DataRows) -> dict[str, str]:
        """Rarer spellings to the commonest one."""
        counts = Counter(row.label for _, row, _ in data.usable if row.label)
        alike: dict[str, list[str]] = defaultdict(list)
        for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            alike[folded(label)].append(label)
        return {rare: same[0] for same in alike.values() for rare in same[1:]}
