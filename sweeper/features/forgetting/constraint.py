"""The limit on forgetting."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.features.forgetting.options import Options
from sweeper.objective import Limit
from sweeper.spec import Spec
from sweeper.trials import GENERAL

# Rungs from one check of the limit to the next: with more, a trial would be stopped late.
_RUNGS_PER_CHECK = 2


def limits(spec: Spec) -> Iterator[Limit]:
    """The limit on what a model loses on general text and other tasks, if the user sets one."""
    points = spec.features.of(Options).max_points
    if points is not None:
        yield Limit(
            measure=GENERAL,
            most=points / 100,
            title="forgetting",
            every=_RUNGS_PER_CHECK,
            remedy="Score other tasks with the run, or name general text with --general "
            "(docs/forgetting.md). A model with a classification head writes no text, so its "
            "forgetting cannot be measured.",
        )
