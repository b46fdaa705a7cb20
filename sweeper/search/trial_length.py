"""How long a trial trains: the whole budget, or so many of its rungs as its epochs take.

A shorter trial passes the same rungs as a longer one, until its own end. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sweeper.planning.epochs import EPOCHS
from sweeper.spec import Scalar


class Full(Protocol):
    """A full budget: its rungs, and the epochs that they take, None where nobody counts any."""

    @property
    def rungs(self) -> int: ...
    @property
    def epochs(self) -> float | None: ...


def rungs_of(parameters: Mapping[str, Scalar], full: Full) -> int:
    """How many rungs of a full budget a trial with these parameters has.

    At least one, and no more than there are.
    """
    epochs = parameters.get(EPOCHS)
    if epochs is None or not full.epochs:
        return full.rungs
    return min(full.rungs, max(1, round(full.rungs * float(epochs) / full.epochs)))
