"""Base class of what one of sweeper's features adds to a training, in its ``trial.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from sweeper.tasks.task import Batch, Evaluation, Floats, LossSum, Task
from sweeper.trials import Measure

if TYPE_CHECKING:
    from sweeper.training.base_model.base_lender import BaseLender


class FurtherBatch(NamedTuple):
    """A batch of an optimizer step in addition to the batches of the trial's task.

    Args:
        task: The task that computes the loss.
        weight: Weight of one term of the loss.
        origin: Name under which the rows are counted.
        rows: Number of rows; 0 if the model learns nothing from the batch.
    """

    task: Task
    batch: Batch
    weight: float
    origin: str
    rows: int


@dataclass(frozen=True)
class ItemMeasure:
    """A measure of a model, its values per item and their weights in the mean.

    Arrays are of shape ``(items,)``, and empty if the items are unknown.
    """

    measure: Measure
    values: Floats
    base_values: Floats
    weights: Floats

    @classmethod
    def against(cls, title: str, unit: str, now: Evaluation, base: Evaluation) -> ItemMeasure:
        """The loss of a model beside its base's, on the items that the model was scored on."""
        base_losses = base.losses[: len(now.losses)]
        base_loss = float(np.average(base_losses, weights=now.weights))
        measure = Measure(title=title, unit=unit, value=now.loss, base=base_loss)
        return cls(measure, now.losses, base_losses, now.weights)


class Extension:
    """A feature's additions to one training. Subclasses override the methods that they need.

    Attributes:
        task_share: Factor on the task's loss; further batches have their own weights.
        has_penalty: Whether the class overrides ``reference`` and ``penalised_loss``.
    """

    task_share = 1.0
    has_penalty = False

    def begin(self, base_lender: BaseLender) -> None:
        """Prepare the additions, before the model is assembled.

        Args:
            base_lender: Lender of the base that the training starts from.
        """

    def use_attention(self, attention: str) -> None:
        """Use the attention of the assembled model, given by its name in transformers."""

    def further_batches(self, task_tokens: int, micro_batch: int) -> Iterator[FurtherBatch]:
        """Further batches of one optimizer step; their number is the same on each rank.

        Args:
            task_tokens: Tokens of the task in this step, on all ranks together.
            micro_batch: Rows of a batch, at most.
        """
        yield from ()

    def reference(self, model: nn.Module, batch: Batch) -> Any:
        """The input of the penalty, computed before the loss and without gradient.

        Args:
            model: The model in training, without the Trainer's wrapper (DDP).
        """
        raise NotImplementedError

    def penalised_loss(
        self, model: nn.Module, batch: Batch, reference: Any
    ) -> tuple[LossSum, Tensor]:
        """The task's loss, and the penalty that is added to it, over the same terms."""
        raise NotImplementedError

    def measure(self, model: nn.Module, *, at_end: bool) -> Mapping[str, ItemMeasure]:
        """Measures of the model, by name: at a rung, or at the end with the weights of the result.

        Raises:
            TrainingDiverged: A measure is not finite.
        """
        return {}

    def state(self) -> Any:
        """The state that ``restore`` needs to continue from a checkpoint."""

    def restore(self, state: Any) -> None:
        """Restore a saved state; called on a new object."""
