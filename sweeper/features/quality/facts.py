"""The fact whether a remedy for wrong labels is requested."""

from __future__ import annotations

from sweeper.features.quality.options import Options
from sweeper.planning.rulebook.fact import FactInput, Value, flag


@flag(set_by_user=True)
def label_noise_treated(inputs: FactInput) -> Value:
    """Whether a remedy for wrong labels is requested."""
    remedies = inputs.spec.features.of(Options).remedies
    return not {"label-noise", "relabel"}.isdisjoint(remedies)


FACTS = (label_noise_treated,)
