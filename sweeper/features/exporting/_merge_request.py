"""The request to the process that merges an adapter into its base. No torch."""

from __future__ import annotations

from sweeper.artifact import Artifact

MERGE_RECORD = "merged.json"


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
