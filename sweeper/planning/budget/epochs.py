"""How many epochs a trial may have: the study's full budget, or a part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter, Prior
from sweeper.spec import Spec

# Models tuned on few rows converge only after more updates than a few epochs give: published work
# on such sets trains up to 20 epochs (Mosbach et al. 2021, arXiv:2006.04884, section 6; Zhang et
# al. 2021, arXiv:2006.05987, section 6). A hundred updates are a choice of this project.
LEAST_STEPS, MOST_EPOCHS = 100, 20

# A half and a quarter end at rungs of a full budget of eight.
_SHARES = (0.25, 0.5)
_WHY = (
    "A trial may train for all epochs of the full budget or a part of them. If rows are seen more "
    "than once, a shorter trial with its own decay is often better, and costs less."
)


def lengths(epochs: float) -> tuple[float, ...]:
    """Epochs that trials may have: all of a full budget, or halves of it that see every row once.

    They end at rungs of the full budget, so that trials of all lengths are compared at the same
    ones.

    >>> lengths(4.0), lengths(3.0), lengths(1.0)
    ((1.0, 2.0, 4.0), (1.5, 3.0), (1.0,))
    """
    return (*(epochs * share for share in _SHARES if epochs * share >= 1), epochs)


def at_least(epochs: float, batch: int, train_rows: int) -> float:
    """The epochs, or as many more as the least optimizer steps take.

    >>> at_least(3.0, 16, 1400), at_least(4.0, 8, 35), at_least(4.0, 8, 140)
    (3.0, 20.0, 6.0)
    """
    needed = math.ceil(LEAST_STEPS * batch / train_rows)
    return max(epochs, float(min(needed, MOST_EPOCHS)))


def with_epochs(
    parameters: dict[str, Parameter], epochs: float, spec: Spec
) -> dict[str, Parameter]:
    """The parameters with the study's number of epochs, whatever the strategy's own range.

    Fewer epochs are searched too, unless the user set the number.
    """
    old = parameters.get(EPOCHS)
    if old is None:
        return parameters
    low, high = min(old.low or epochs, epochs), max(old.high or epochs, epochs)
    update: dict[str, object] = {"default": epochs, "low": low, "high": high}
    choices = lengths(epochs)
    if spec.training.epochs is not None:
        update |= {"source": "the request", "why": "The requested full budget."}
    elif len(choices) > 1:
        update |= dict.fromkeys(("low", "high", "allowed_low", "allowed_high"))
        update |= {"kind": "categorical", "choices": choices, "allowed_choices": choices}
        update |= {"prior": Prior(weights=(1.0,) * len(choices)), "searched": True, "why": _WHY}
    return parameters | {EPOCHS: old.model_copy(update=update)}


def usual_share(parameters: Mapping[str, Parameter]) -> float:
    """Mean share of a full budget that trials are given, by the prior and before pruning."""
    found = parameters.get(EPOCHS)
    if found is None or not found.searched or found.choices is None:
        return 1.0
    full = max(float(choice) for choice in found.choices)
    weights = found.prior.weights if found.prior else None
    shares = [float(choice) / full for choice in found.choices]
    weighed = zip(shares, weights or [1.0] * len(shares), strict=True)
    return sum(share * weight for share, weight in weighed) / sum(weights or [1.0] * len(shares))
