"""The records that ``sweeper predict`` prints and writes."""

from __future__ import annotations

from sweeper.artifact import Record


class PredictedRow(Record):
    """One line of the output.

    Args:
        row: Number of the row, from 1.
        label: Predicted class; None if the model generates text.
        probabilities: Probability by class, most likely first; None if it generates text.
        text: Generated text; None if the model classifies.
    """

    row: int
    label: str | None = None
    probabilities: dict[str, float] | None = None
    text: str | None = None


class PredictedFile(Record):
    """What ``sweeper predict --output FILE --json`` prints."""

    output: str
    rows: int
