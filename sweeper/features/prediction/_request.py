"""The request of ``predict`` to the process with the model. No torch."""

from __future__ import annotations

from sweeper.artifact import Artifact


class PredictionRequest(Artifact):
    """Rows for one model, and where its predictions go.

    Args:
        weights: ``weights/`` of a trial.
        data: A data file; None if ``text`` is given.
        part: A file of JSON lines, one for each row that is done. What it holds is not done again.
    """

    weights: str
    data: str | None = None
    text: str | None = None
    part: str
    batch_size: int
    max_new_tokens: int
