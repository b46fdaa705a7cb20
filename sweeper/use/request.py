"""The requests of ``predict``, ``refit`` and ``merge`` to the process with the model. No torch."""

from __future__ import annotations

from sweeper.artifact import Artifact
from sweeper.data.examples import Split
from sweeper.trials import TrialConfig

REFIT_RECORD, MERGE_RECORD = "refit.json", "merged.json"


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


class MergeRequest(Artifact):
    """An adapter to put into the weights of its base. Also a file beside what was made.

    Args:
        weights: ``weights/`` of a trial.
        folder: What is made; it appears once it is whole.
        chosen: What the models choose: ``class`` or ``token``.
        difference: The largest difference of a logit from those of the trial, once it is known.
        agreement: The share of places with the same likeliest class or token as in the trial.
    """

    weights: str
    folder: str
    chosen: str = "token"
    difference: float | None = None
    agreement: float | None = None

    @property
    def told(self) -> str:
        """How far the two are from each other."""
        places = "texts" if self.chosen == "class" else "positions"
        return (
            f"the most likely {self.chosen} is that of the trial at {self.agreement:.1%} of "
            f"{places}; a logit differs by at most {self.difference:.2g}"
        )
