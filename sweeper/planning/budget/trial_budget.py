"""How many epochs a trial may have, and the rungs and items at which it is scored.

Works with shares of a trial's work, not with seconds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sweeper.constraints import limits_of
from sweeper.facts.record import Facts
from sweeper.features import parts
from sweeper.hyperparameters import EPOCHS, PATIENCE
from sweeper.planning.budget.sequence_cap import Cap
from sweeper.plans import Parameter, Prior
from sweeper.spec import Spec

RUNGS = 8
# Evaluation may cost a tenth of a trial; a trained token costs three forward ones (Kaplan et al.
# 2020, arXiv:2001.08361, section 2.1: backward is twice forward). Measured on a CPU, MiniLM on
# 2,179 rows, where this says a tenth: 11% to 15% of LoRA trials, 6% to 11% of full ones.
EVALUATION_SHARE = 0.1
FORWARD_SHARE = 1 / 3
FEWEST_ITEMS = 50
# Rungs from one scored rung to the next. At the widest a trial is scored half-way and at its end.
SPACINGS = (1, 2, 4)
TYPICAL_CLASSES = 2

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


class ScoredRungs(NamedTuple):
    """The scored rungs of a trial below its last one.

    Args:
        every: Rungs from one to the next; divides ``RUNGS``.
        items: Validation items at each.
    """

    every: int
    items: int

    @property
    def below(self) -> int:
        return RUNGS // self.every - 1


def scoring_tokens(spec: Spec, facts: Facts, cap: Cap) -> float:
    """Tokens that scoring one item reads.

    At most: equal beginnings of class names that are written are read once.
    """
    if facts.task != "classification" or spec.training.classes_by == "head":
        return cap.mean
    answer = facts.data.lengths.output_mean if facts.data.lengths else None
    return cap.mean + (len(facts.data.labels) or TYPICAL_CLASSES) * (answer or 1.0)


def scored_rungs(
    spec: Spec, facts: Facts, cap: Cap, validation_rows: int, epochs: float, train_rows: int
) -> ScoredRungs:
    """The scored rungs of a study's trials.

    Limits and patience ask for rungs at which trials can be stopped.
    """
    widest = min((limit.every for limit in limits_of(spec)), default=SPACINGS[-1])
    if spec.training.early_stopping_patience is not None or spec.declares(PATIENCE):
        widest = SPACINGS[0]
    at_rung, at_end = further_tokens(spec, cap.tokens)
    cost = scoring_tokens(spec, facts, cap) / cap.mean
    return affordable(
        EVALUATION_SHARE / FORWARD_SHARE * epochs * cap.items(train_rows),
        validation_rows,
        widest,
        cost=cost,
        at_rung=at_rung / cap.mean,
        at_end=validation_rows * cost + at_end / cap.mean,
    )


def affordable(
    passes: float,
    validation_rows: int,
    widest: int = SPACINGS[-1],
    *,
    cost: float = 1.0,
    at_rung: float = 0.0,
    at_end: float = 0.0,
) -> ScoredRungs:
    """The most scored rungs that are affordable, with enough items to tell trials apart.

    Rungs with the fewest items must not cost more than all evaluation may; what the end leaves of
    that is spent on more items.

    Args:
        passes: Forward passes over an item that evaluation may cost.
        widest: Rungs from one scored rung to the next, at most.
        cost: Forward passes that scoring one item costs.
        at_rung: The same for what else is scored at each rung.
        at_end: The same for all that is scored at the end.

    >>> affordable(700.0, 1000), affordable(1200.0, 1000, at_end=500.0)
    (ScoredRungs(every=1, items=100), ScoredRungs(every=1, items=100))
    >>> affordable(90.0, 12), affordable(40.0, 12), affordable(10.0, 12)
    (ScoredRungs(every=1, items=12), ScoredRungs(every=2, items=12), ScoredRungs(every=4, items=12))
    """
    enough = min(FEWEST_ITEMS, validation_rows)
    least = enough * cost + at_rung
    fitting = (s for s in SPACINGS if s >= widest or ScoredRungs(s, enough).below * least <= passes)
    every = next(fitting)
    items = ((passes - at_end) / ScoredRungs(every, enough).below - at_rung) / cost
    return ScoredRungs(every, min(validation_rows, max(enough, math.floor(items))))


def further_tokens(spec: Spec, cap: int) -> tuple[int, int]:
    """Tokens that a trial is scored on for features: at each scored rung, and at its end."""
    scored = [tokens(spec, cap) for _, tokens in parts.SCORED_TOKENS.all()]
    return sum(at_rung for at_rung, _ in scored), sum(at_end for _, at_end in scored)


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

    >>> at_least(3.0, 16, 1400), at_least(4.0, 8, 35), at_least(4.0, 8, 100)
    (3.0, 20.0, 8.0)
    """
    return max(epochs, min(LEAST_STEPS * batch / train_rows, float(MOST_EPOCHS)))


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
        update |= {"source": "the request", "why": "The number that you asked for."}
    elif len(choices) > 1:
        update |= dict.fromkeys(("low", "high", "allowed_low", "allowed_high"))
        update |= {"kind": "categorical", "choices": choices, "allowed_choices": choices}
        update |= {"prior": Prior(weights=(1.0,) * len(choices)), "searched": True, "why": _WHY}
    return parameters | {EPOCHS: old.model_copy(update=update)}
