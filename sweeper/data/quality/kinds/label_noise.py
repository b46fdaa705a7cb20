"""Labels that are probably wrong."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow
from sweeper.data.quality.trust import SUSPECTED, judgeable, judged, why_not


class LabelNoise(Kind):
    """Rows whose words go with another label."""

    name = "label-noise"
    order = 68
    title = "have a label that is probably wrong"
    consequence = "The model learns the error, and a right answer is scored as wrong."
    remedy = (
        "leaves them out of train. If a file has no splits, divide it first (`sweeper data "
        "split`). Validation and test keep such rows: without hard rows, scores would be too good. "
        "`--remedy relabel` writes the likely label instead"
    )
    judges = True
    least_confidence = 0.0

    def missing(self, data: DataRows) -> str:
        """It needs labels that words can predict, scikit-learn and cleanlab."""
        return why_not(data)

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with a suspected label, and the label that the others suggest."""
        if why_not(data):
            return []
        found = judged(data)
        return [
            Fault(
                place,
                f"{data.rows[place].label!r} may be {found.predicted[n]!r} "
                f"(confidence {found.confidence[n]:.0%})",
            )
            for n, place in enumerate(judgeable(data))
            if found.trust[n] < SUSPECTED and found.confidence[n] >= self.least_confidence
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """Leave out those of train."""
        return {one.place: None for one in faults if data.rows[one.place].split == "train"}
