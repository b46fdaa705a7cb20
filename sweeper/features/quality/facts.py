"""Whether wrong labels are treated, for conditions of rules."""

from __future__ import annotations

from sweeper.features.quality.options import Options
from sweeper.planning.rulebook.fact import flag

FACTS = (
    flag(
        "label_noise_treated",
        "a remedy for wrong labels is requested",
        lambda s: not {"label-noise", "relabel"}.isdisjoint(s.spec.features.of(Options).remedies),
        chosen=True,
    ),
)
