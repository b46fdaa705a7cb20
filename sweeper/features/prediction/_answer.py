"""What ``sweeper predict`` prints and writes."""

from __future__ import annotations

from sweeper.artifact import Record


class PredictedRow(Record):
    """One line of the output.

    Args:
        row: From 1 on.
        label: The class; None where the model writes.
        probabilities: Class to probability, most likely first; None where the model writes.
        text: What the model writes; None where it classifies.
    """

    row: int
    label: str | None = None
    probabilities: dict[str, float] | None = None
    text: str | None = None


class PredictedFile(Record):
    """What ``sweeper predict --output FILE --json`` prints."""

    output: str
    rows: int
