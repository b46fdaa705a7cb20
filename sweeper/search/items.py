"""How much of a rung's loss is the luck of the items that it was scored on.

A rung scores the first few validation items. Trials are scored on the same ones, so that an easy
draw flatters all of them; what is left is that one trial finds them easier than another does, and
that does not shrink as training goes on. Knows nothing of curves or decisions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeper.trials import FirstItems

_ATTRIBUTE = "sweeper:items:"


def attribute(rung: int, items: FirstItems) -> tuple[str, dict[str, Any]]:
    """The trial attribute that keeps a rung's items."""
    return f"{_ATTRIBUTE}{rung}", items.model_dump(mode="json")


def noted_items(attributes: Mapping[str, Any]) -> dict[int, FirstItems]:
    """What a trial's attributes keep, by rung."""
    # Read at every look at the study, so what was written from the same type is not checked again.
    return {
        int(name.removeprefix(_ATTRIBUTE)): FirstItems.model_construct(
            **{**kept, "each": tuple(kept["each"])}
        )
        for name, kept in attributes.items()
        if name.startswith(_ATTRIBUTE)
    }


def luck(own: FirstItems | None, others: Sequence[FirstItems | None], easier: float) -> float:
    """By how much other items would have moved one trial against another, as each adds to it.

    Standard deviation of the log of a loss, as the mean over pairs of this trial with another; 0
    where nobody told of items, or where they are all that there are.

    Args:
        own: The trial's items at a rung.
        others: Those of other trials, at the same rung.
        easier: What the loss on all items is above that on these.
    """
    if own is None or len(own.each) < 2 or own.loss + easier <= 0:
        return 0.0
    known = [one for one in others if one is not None and one.count == own.count]
    known = [one for one in known if one.loss + easier > 0]
    if not known:
        return 0.0
    # Delta method: an item moves the log of a loss by its share of it. Half of what two differ by.
    levels = np.asarray([one.loss + easier for one in known])
    theirs = np.asarray([one.each for one in known]) / levels[:, None]
    apart = np.asarray(own.each) / (own.loss + easier) - theirs
    unseen = max(0.0, 1 - own.count / max(own.of, own.count))
    squares = apart.var(axis=1, ddof=1) / own.count * unseen / 2
    return math.sqrt(statistics.fmean(squares.tolist()))
