"""The same input with different answers."""

from __future__ import annotations

from collections import Counter, defaultdict

from sweeper.data.examples import normalised
from sweeper.data.problems import listing
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow


class Conflicts(Kind):
    """Inputs that occur with more than one class, or with more than one written answer."""

    name = "conflicts"
    order = 50
    title = "have an input that occurs with another answer"
    consequence = (
        "At most one answer of a class can be right, so some of these rows teach an error. Of "
        "written answers several may be right; then keep them."
    )
    remedy = "keeps the most common answer of each input, or none if there is a tie"
    compares = "inputs"

    def missing(self, data: DataRows) -> str:
        """It needs inputs that mostly have one answer."""
        answers = any(row.label or row.written for _, row, _ in data.usable)
        references = answers and not _answers(data)
        return "most inputs have several answers, all used as references" if references else ""

    def find(self, data: DataRows) -> list[Fault]:
        """Every row of such an input."""
        return [
            Fault(place, f"{len(answers)} answers: {listing([repr(a[:30]) for a in answers], 3)}")
            for answers in _answers(data).values()
            if len(answers) > 1
            for places in answers.values()
            for place in places
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """Leave out all rows that do not have the commonest answer."""
        mended: dict[int, FileRow | None] = {}
        for answers in _answers(data).values():
            counts = Counter({answer: len(places) for answer, places in answers.items()})
            (best, most), *others = counts.most_common(2)
            if not others:
                continue
            kept = best if most > others[0][1] else None
            mended |= {
                place: None
                for answer, places in answers.items()
                if answer != kept
                for place in places
            }
        return mended


def _answers(data: DataRows) -> dict[str, dict[str, list[int]]]:
    """From inputs to answers to places."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, row, example in data.usable:
        if answer := row.label or normalised(row.written):
            found[example.key][answer].append(place)
    several = sum(len(places) for one in found.values() if len(one) > 1 for places in one.values())
    written = not any(row.label for _, row, _ in data.usable)
    # Where most inputs have several written answers, they are references, and meant.
    return {} if written and several > data.usable_rows / 2 else found
