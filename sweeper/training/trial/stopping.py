"""Early stopping of a trial that overfits, does not improve, or forgets too much.

Knows losses at rungs; knows neither models nor the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweeper.objective import LOSS, Objective
from sweeper.spec import Scalar
from sweeper.tasks.base import Floats

# Of a normal distribution, one-sided: a rise is beyond noise at 95%.
_BEYOND = 1.645
# Looks since the best one before a trial is said to overfit: one that is worse may be owed to the
# order of the data.
_SINCE_BEST = 2


@dataclass(frozen=True)
class ItemLosses:
    """Losses of the same items at each rung, and their weights; both of shape ``(items,)``."""

    losses: Floats
    weights: Floats

    @property
    def mean(self) -> float:
        """The weighted mean loss."""
        return float(np.average(self.losses, weights=self.weights))


@dataclass(frozen=True)
class Rise:
    """The rise of the loss on the same items.

    Args:
        mean: Nats per term.
        error: Standard error over the items.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, now: ItemLosses, before: ItemLosses) -> Rise:
        """Paired with the first items of ``before``."""
        count = len(now.losses)
        differences: Floats = now.losses - before.losses[:count]
        shares = now.weights / now.weights.sum()
        mean = float(np.dot(shares, differences))
        spread = float(np.sqrt(np.dot(shares**2, (differences - mean) ** 2)))
        return cls(mean, spread * math.sqrt(count / max(1, count - 1)))

    def beyond(self, limit: float) -> bool:
        """Whether the rise exceeds the limit beyond noise."""
        return self.mean - _BEYOND * self.error > limit


@dataclass(frozen=True)
class RungLook:
    """The losses of a trial at a rung.

    Args:
        items: Items of the task's validation split.
        train_loss: Since the look before, where that is known.
        epochs: Passes over the train split so far.
        lost: On general text since the base, where that is watched.
    """

    items: ItemLosses
    train_loss: float | None = None
    epochs: float = 0.0
    lost: Rise | None = None


@dataclass
class Stopping:
    """Early stopping by validation loss and by loss on general text.

    Args:
        patience: Stop after so many looks in a row without a better validation loss of the task
            (after Prechelt 1998, Early Stopping - But When?, whose criterion UP counts rises in a
            row); None for never.
        limit: Nats per token by which the loss on general text may rise; None for no limit.
        overfitting: Whether to stop once rows are seen again, the training loss falls, and the
            validation loss has risen above its best by more than its items scatter.
        objective: What the items' losses are costs of; it takes the validation loss's place where
            it is measured at rungs.
    """

    patience: int | None = None
    limit: float | None = None
    overfitting: bool = False
    objective: Objective = LOSS
    _best: RungLook | None = None
    _waited: int = field(default=0)

    @classmethod
    def of(
        cls, parameters: dict[str, Scalar], overfitting: bool = False, objective: Objective = LOSS
    ) -> Stopping:
        """The early stopping of a trial's parameters."""
        patience, limit = (
            parameters.get("early_stopping_patience"),
            parameters.get("general_loss_limit"),
        )
        return cls(
            None if patience is None else int(patience),
            None if limit is None else float(limit),
            overfitting,
            objective if objective.at_rungs else LOSS,
        )

    def state(self) -> dict[str, Any]:
        """The best rung so far, and the number of rungs after it."""
        best = self._best
        if best is None:
            return {"best": None, "waited": self._waited}
        look = {
            "losses": best.items.losses.tolist(),
            "weights": best.items.weights.tolist(),
            "train_loss": best.train_loss,
            "epochs": best.epochs,
        }
        return {"best": look, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._waited, best = state["waited"], state["best"]
        if best is not None:
            items = ItemLosses(np.array(best["losses"]), np.array(best["weights"]))
            self._best = RungLook(items, best["train_loss"], best["epochs"])

    def saw(self, look: RungLook) -> str:
        """The reason to stop at this rung, as text; empty to go on."""
        best = self._best
        if best is None or look.items.mean < best.items.mean:
            self._best, self._waited = look, 0
        else:
            self._waited += 1
        lost = look.lost
        if self.limit is not None and lost is not None and lost.beyond(self.limit):
            return (
                f"the loss on general text rose by {lost.mean:.3f} nats per token, beyond the "
                f"limit of {self.limit:g}"
            )
        if self.patience is not None and self._waited >= self.patience:
            return f"{self.objective.title} did not improve in {self._waited} rungs"
        if self.overfitting and best is not None and self._overfits(look, best):
            objective = self.objective
            went = f"{objective.title} {'fell' if objective.higher_is_better else 'rose'}"
            before, now = (objective.value(one.items.mean) for one in (best, look))
            return (
                f"it overfits: {went} from {before:.4g} to {now:.4g}, beyond noise, while training "
                f"loss fell to {look.train_loss:.4g}"
            )
        return ""

    def _overfits(self, look: RungLook, best: RungLook) -> bool:
        if self._waited < _SINCE_BEST or look.epochs <= 1:
            return False
        if look.train_loss is None or best.train_loss is None:
            return False
        return look.train_loss < best.train_loss and Rise.of(look.items, best.items).beyond(0.0)
