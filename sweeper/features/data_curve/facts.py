"""Refuses a data curve of an objective that has none."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.errors import Problem
from sweeper.features.data_curve.options import Options
from sweeper.metrics.objectives import objective_of
from sweeper.spec import Spec


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """A curve needs a loss or a score of each item."""
    if spec.features.of(Options).enabled and not objective_of(spec).at_rungs:
        yield Problem(
            "a data curve of this objective",
            "It needs a loss or a score of each item; trials are compared by "
            f"{spec.objective.name} here.",
            "Leave it out.",
            spec.places.where(("features", "data_curve", "enabled")),
        )
