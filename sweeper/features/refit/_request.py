"""The request to the process that trains a configuration again. No torch."""

from __future__ import annotations

from sweeper.artifact import Artifact
from sweeper.data.examples import Split
from sweeper.trials import TrialConfig

REFIT_RECORD = "refit.json"


class RefitRequest(Artifact):
    """One more training of a configuration, on more rows. Also a file beside what it made.

    Args:
        config: Configuration to train. No rows are left to choose a rung by.
        folder: What is made: ``weights/``, ``trainer.log`` and ``refit.json``.
        card: What is appended to the card of the weights.
    """

    run: str
    config: TrialConfig
    splits: tuple[Split, ...]
    folder: str
    card: str
