"""Labels that are probably wrong, left out or replaced by the label that words predict."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows, FileRow
from sweeper.data.quality.trust import SUSPECTED, checked_places, label_trust, why_not


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
    uses_model = True
    least_confidence = 0.0

    def missing(self, data: DataRows) -> str:
        return why_not(data)

    def find(self, data: DataRows) -> list[Fault]:
        """Rows with a suspected label, and the label that the others suggest."""
        if why_not(data):
            return []
        found = label_trust(data)
        return [
            Fault(
                place,
                f"{data.rows[place].label!r} may be {found.predicted[n]!r} "
                f"(confidence {found.confidence[n]:.0%})",
            )
            for n, place in enumerate(checked_places(data))
            if found.trust[n] < SUSPECTED and found.confidence[n] >= self.least_confidence
        ]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        return {one.place: None for one in faults if data.rows[one.place].split == "train"}


CONFIDENT = 0.7
"""Probability of the predicted label from which on it is written. Of 5% and 20% wrong labels in
snips7, 74% and 39% of them reach it, and the label is then right in 96% and 99%; from 0.5 on it is
91% and 98%. With 77 labels (banking77) none is above 0.62."""


class Relabel(LabelNoise):
    """Suspected labels for which another one is very likely."""

    name = "relabel"
    order = 67
    title = "have a label that is probably wrong, and another one is very likely"
    remedy = (
        "changes only the train split; if a file has no splits, divide it first. It writes the "
        f"label that words predict, if its probability is {CONFIDENT:.0%} or more. Other suspected "
        "rows stay as they are; if `label-noise` is named too, it leaves them out"
    )
    instead_of = "label-noise"
    least_confidence = CONFIDENT

    def find(self, data: DataRows) -> list[Fault]:
        """Those rows of train, with both labels and the probability."""
        return [one for one in super().find(data) if data.rows[one.place].split == "train"]

    def mend(self, data: DataRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        predicted = dict(zip(checked_places(data), label_trust(data).predicted, strict=True))
        return {
            fault.place: data.with_label(data.rows[fault.place], predicted[fault.place])
            for fault in faults
        }
