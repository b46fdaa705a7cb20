"""What a trial that ran says of shorter ones: it passed the rungs at which they would have ended.

It stood there at its full rate, so that a shorter trial, whose rate decays, may end a little lower.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeper.planning.epochs import EPOCHS
from sweeper.search.axis import Axis, Choice
from sweeper.search.observations import Observation
from sweeper.search.trial_length import Full, rungs_of
from sweeper.spec import Scalar


def shorter(
    seen: Sequence[Observation], axes: Mapping[str, Axis | Choice], full: Full
) -> list[Observation]:
    """Trials as they would have ended had they had fewer epochs.

    Args:
        seen: Trials of one candidate; those that completed tell.
        axes: Its searched parameters.
        full: The study's full budget.
    """
    return [
        replace(one, parameters=point, loss=one.curve[rungs] + (one.easier or 0.0), rungs=rungs)
        for one in seen
        if one.complete and one.loss is not None
        for point in _with_epochs(one.parameters, axes)
        if (rungs := rungs_of(point, full)) < one.rungs and rungs in one.curve
    ]


def enough(one: Observation, axes: Mapping[str, Axis | Choice], full: Full) -> dict[str, Scalar]:
    """The fewest epochs that have this trial's best rung, as a part of a configuration."""
    best = one.best_rung
    if best is None:
        return {}
    fitting = (
        (rungs_of(point, full), point[EPOCHS])
        for point in _with_epochs(one.parameters, axes)
        if best <= rungs_of(point, full) < one.rungs
    )
    least = min(fitting, default=None, key=lambda each: each[0])
    return {} if least is None else {EPOCHS: least[1]}


def _with_epochs(
    parameters: Mapping[str, Scalar], axes: Mapping[str, Axis | Choice]
) -> list[dict[str, Scalar]]:
    axis = axes.get(EPOCHS)
    if not isinstance(axis, Choice) or EPOCHS not in parameters:
        return []
    return [{**parameters, EPOCHS: choice} for choice in axis.choices]
