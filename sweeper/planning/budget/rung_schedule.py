"""The rungs at which a trial is scored, and the items scored there, so that this is cheap.

Works with shares of a trial's work, not with seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeper.data.general import HELD_BACK, HELD_BACK_TOKENS, RUNG_TEXTS
from sweeper.facts.record import Facts
from sweeper.hyperparameters import PATIENCE
from sweeper.planning.budget.sequence_cap import Cap
from sweeper.spec import Spec

RUNGS = 8
# Evaluation may cost a tenth of a trial; a trained token costs three forward ones (Kaplan et al.
# 2020, arXiv:2001.08361, section 2.1: backward is twice forward). Measured on a CPU, MiniLM on
# 2,179 rows, where this says a tenth: 11% to 15% of LoRA trials, 6% to 11% of full ones.
EVALUATION_SHARE = 0.1
FORWARD_SHARE = 1 / 3
FEWEST_ITEMS = 50
# Rungs from one look to the next. At the widest a trial is looked at half-way and at its end.
SPACINGS = (1, 2, 4)
TYPICAL_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Looks:
    """The scored rungs of a trial below its last one.

    Args:
        every: Rungs from one to the next; divides ``RUNGS``.
        items: Validation items at each.
    """

    every: int
    items: int

    @property
    def below(self) -> int:
        """How many there are."""
        return RUNGS // self.every - 1


def judged_tokens(spec: Spec, facts: Facts, cap: Cap) -> float:
    """Tokens that scoring one item reads.

    At most: equal beginnings of class names that are written are read once.
    """
    if facts.task != "classification" or spec.training.classes_by == "head":
        return cap.mean
    answer = facts.data.lengths.output_mean if facts.data.lengths else None
    return cap.mean + (len(facts.data.labels) or TYPICAL_CLASSES) * (answer or 1.0)


def looks_of(spec: Spec, facts: Facts, cap: Cap, validation_rows: int, epochs: float) -> Looks:
    """The scored rungs of a study's trials.

    Whoever asked for a limit or for patience has asked for looks at which trials can be stopped.
    """
    widest = SPACINGS[-1]
    if spec.training.early_stopping_patience is not None or spec.declares(PATIENCE):
        widest = SPACINGS[0]
    elif spec.aim.max_forgetting_points is not None:
        widest = SPACINGS[1]
    at_look, at_end = watched_tokens(spec, cap.tokens)
    cost = judged_tokens(spec, facts, cap) / cap.mean
    return affordable(
        EVALUATION_SHARE / FORWARD_SHARE * epochs * cap.items(facts.data.train_rows),
        validation_rows,
        widest,
        cost=cost,
        at_look=at_look / cap.mean,
        at_end=validation_rows * cost + at_end / cap.mean,
    )


def affordable(
    passes: float,
    validation_rows: int,
    widest: int = SPACINGS[-1],
    *,
    cost: float = 1.0,
    at_look: float = 0.0,
    at_end: float = 0.0,
) -> Looks:
    """The most scored rungs that are affordable, with enough items to tell trials apart.

    Looks at the fewest items must not cost more than all evaluation may; what the end leaves of
    that is spent on more items.

    Args:
        passes: Forward passes over an item that evaluation may cost.
        validation_rows: Validation rows of the whole split.
        widest: Rungs from one look to the next, at most.
        cost: Forward passes that scoring one item costs.
        at_look: The same for what else is scored at each look.
        at_end: The same for all that is scored at the end.

    >>> affordable(700.0, 1000), affordable(1200.0, 1000, at_end=500.0)
    (Looks(every=1, items=100), Looks(every=1, items=100))
    >>> affordable(90.0, 12), affordable(40.0, 12), affordable(10.0, 12)
    (Looks(every=1, items=12), Looks(every=2, items=12), Looks(every=4, items=12))
    """
    enough = min(FEWEST_ITEMS, validation_rows)
    least = enough * cost + at_look
    fitting = (s for s in SPACINGS if s >= widest or Looks(s, enough).below * least <= passes)
    every = next(fitting)
    items = ((passes - at_end) / Looks(every, enough).below - at_look) / cost
    return Looks(every, min(validation_rows, max(enough, math.floor(items))))


def watched_tokens(spec: Spec, cap: int) -> tuple[int, int]:
    """Tokens of general text that a trial is scored on: at each scored rung, and at its end."""
    limited = spec.aim.max_forgetting_points is not None
    head = spec.task == "classification" and spec.training.classes_by == "head"
    if head or (not limited and spec.data.general is None):
        return 0, 0
    text = min(cap, HELD_BACK_TOKENS)
    return (RUNG_TEXTS * text if limited else 0), HELD_BACK * text


def general_tokens(spec: Spec, cap: int, looks: int) -> int:
    """The same for a whole trial with so many scored rungs, the last one included."""
    at_look, at_end = watched_tokens(spec, cap)
    return looks * at_look + at_end
