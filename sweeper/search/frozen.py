"""What a frozen base with a linear head tells of trials that start from that head.

A trial that starts from the probe and whose learning rate is nought is the frozen model, and ends
with its loss. So that loss is known before anything is trained: it says whether starting there with
a low rate is worth a look. Knows nothing of workers or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna

from sweeper.search.axis import Axis, Choice
from sweeper.search.observations import START, Observation
from sweeper.search.problem import Arm
from sweeper.search.rows import Axes
from sweeper.search.space import holds
from sweeper.spec import Scalar

HEAD, PROBE = "head", "probe"
# At its lowest it is as near to nought as the space goes. The head's own rate may be whatever it
# is, since the probe is where a head on frozen features ends.
RATE = "learning_rate"
# Of a trial that nobody ran.
NUMBER, ORIGIN = -1, "frozen"
_ATTRIBUTE = "sweeper:frozen"


def note(study: optuna.Study, model: str, loss: float) -> None:
    """Keep the validation loss of a model's frozen probe, for whoever samples."""
    study.set_user_attr(f"{_ATTRIBUTE}:{model}", loss)


def noted(study: optuna.Study) -> dict[str, float]:
    """The validation losses that were kept, by model."""
    start = f"{_ATTRIBUTE}:"
    return {
        name.removeprefix(start): float(loss)
        for name, loss in study.user_attrs.items()
        if name.startswith(start)
    }


def losses(
    candidates: Mapping[str, Arm], seen: Sequence[Observation], kept: Mapping[str, float]
) -> dict[str, float]:
    """Validation losses of frozen models, by model: of the head's own trial where it has ended.

    Args:
        candidates: Of the study, by key.
        seen: Its trials.
        kept: As ``noted``.
    """
    heads = {key: one.model for key, one in candidates.items() if one.strategy == HEAD}
    trained = {
        heads[one.key]: one.loss
        for one in seen
        if one.key in heads and one.complete and one.loss is not None
    }
    return {**kept, **trained}


def as_trial(
    key: str, axes: Axes, constants: Mapping[str, Scalar], loss: float
) -> Observation | None:
    """The frozen model as a trial of a candidate; None where it cannot start from the probe.

    Args:
        key: The candidate's.
        axes: Its searched parameters.
        constants: Values of the others, which conditions may name.
        loss: The frozen model's.
    """
    start = axes.get(START)
    if not isinstance(start, Choice) or PROBE not in start.choices:
        return None
    point = {name: axis.parameter.default for name, axis in axes.items()}
    point[START] = PROBE
    rate = axes.get(RATE)
    if isinstance(rate, Axis):
        point[RATE] = rate.value(0.0)
    chosen = {**constants, **point}
    held = {name: value for name, value in point.items() if holds(axes[name].parameter, chosen)}
    return Observation(
        number=NUMBER,
        key=key,
        parameters=held,
        loss=loss,
        complete=True,
        running=False,
        failed=False,
        origin=ORIGIN,
    )
