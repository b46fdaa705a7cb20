"""When a trial ends before its budget does: its task stopped improving, or it forgets too much.

Knows losses at rungs; knows neither models nor the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sweeper.spec import Scalar
from sweeper.tasks.base import Evaluation, Floats

# Of a normal distribution, one-sided: what was lost is beyond noise at 95%.
_BEYOND = 1.645


@dataclass
class Stopping:
    """Early stopping by two losses that are watched apart.

    Args:
        patience: Stop after so many rungs in a row without a better validation loss of the task
            (after Prechelt 1998, Early Stopping - But When?, whose criterion UP counts rises in a
            row); None for never.
        limit: Nats per token by which the loss on general text may rise; None for no limit.
    """

    patience: int | None = None
    limit: float | None = None
    _best: float = math.inf
    _waited: int = field(default=0)

    @classmethod
    def of(cls, parameters: dict[str, Scalar]) -> Stopping:
        """As a trial's parameters say."""
        patience, limit = (
            parameters.get("early_stopping_patience"),
            parameters.get("general_loss_limit"),
        )
        return cls(
            None if patience is None else int(patience), None if limit is None else float(limit)
        )

    def saw(self, loss: float, lost: Lost | None) -> str:
        """Why to stop at this rung, in words; empty to go on.

        Args:
            loss: Validation loss of the task, on the items of every rung.
            lost: On general text, where it is watched.
        """
        improved = loss < self._best
        self._best = min(self._best, loss)
        self._waited = 0 if improved else self._waited + 1
        if self.limit is not None and lost is not None and lost.beyond(self.limit):
            return (
                f"the loss on general text rose by {lost.mean:.3f} nats per token, beyond the "
                f"limit of {self.limit:g}"
            )
        if self.patience is not None and self._waited >= self.patience:
            return f"validation loss did not improve in {self._waited} rungs"
        return ""


@dataclass(frozen=True)
class Lost:
    """How much more general text costs the model than its base.

    Args:
        mean: Nats per token.
        error: Standard error over the items.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, tuned: Evaluation, base: Evaluation) -> Lost:
        """From the same items, the first ones of the base's; weighted by their tokens."""
        count = len(tuned.losses)
        differences: Floats = tuned.losses - base.losses[:count]
        shares = tuned.weights / tuned.weights.sum()
        mean = float(np.dot(shares, differences))
        spread = float(np.sqrt(np.dot(shares**2, (differences - mean) ** 2)))
        return cls(mean, spread * math.sqrt(count / max(1, count - 1)))

    def beyond(self, limit: float) -> bool:
        """More than the limit, and not by chance."""
        return self.mean - _BEYOND * self.error > limit
