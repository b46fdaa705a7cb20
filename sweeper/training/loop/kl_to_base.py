"""The base model's outputs for a KL penalty during training.

Knows how each strategy gets back to its base. Knows nothing of optimizers or trials.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sweeper.errors import UsageError
from sweeper.plans import Precision, half_of
from sweeper.strategies.base import Strategy
from sweeper.strategies.loading import quiet_library
from sweeper.tasks.base import Batch, Task
from sweeper.tasks.text import TextTask


class NearBase:
    """The base beside a model in training.

    Adapters are switched off for the base's forward pass, prompts are left out, and full
    fine-tuning has a frozen copy. The base is asked first and without gradient, so that all is on
    again when the model's own forward pass, and its recomputation under checkpointing, run.

    Args:
        task: Gives logits on the answers.
        model: Model in training, not wrapped.
        weight: Weight of the divergence, beside the task's loss; both are means over answer tokens.
        copied: A frozen copy of the base, where ``strategy`` changes the base itself.
    """

    def __init__(
        self,
        task: TextTask,
        strategy: Strategy,
        model: nn.Module,
        weight: float,
        copied: nn.Module | None = None,
    ) -> None:
        self.task = task
        self.weight = weight
        self._strategy = strategy
        self._model = model
        self._copied = copied

    def attend(self, attention: str) -> None:
        """Give a copy of the base the attention that the model in training has."""
        if self._copied is not None:
            with quiet_library():
                self._copied.set_attn_implementation(attention)

    def logits(self, batch: Batch) -> Tensor:
        """The base's logits at the answers' tokens: ``(answer tokens, vocabulary)``."""
        with torch.no_grad(), self._base() as base, _without_dropout(base):
            return self.task.answer_logits(base, batch)

    @contextmanager
    def _base(self) -> Iterator[nn.Module]:
        if self._copied is not None:
            yield self._copied
            return
        with self._strategy.base_output(self._model) as base:
            yield base


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """A context with the model in evaluation mode.

    Quantised layers repack their weights when ``eval`` is called, which must not happen at every
    step.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def text_task(task: Task) -> TextTask:
    """The task, if it has base outputs to stay near; otherwise an error.

    Raises:
        UsageError: Its model ends in a new head, which the base does not have.
    """
    if isinstance(task, TextTask):
        return task
    raise UsageError(
        "kl_weight needs answers of the base model, which a new classification head does not have",
        why="The head starts from random values: there is no output of the base to stay near.",
        fix="Leave kl_weight out, or set training.classes_by to generate.",
    )


def frozen_copy(base: nn.Module, precision: Precision) -> nn.Module:
    """A copy to compare with, held as frozen weights are: in bf16 unless the trial is in fp32.

    Args:
        base: Base model as it was lent.
    """
    kept = copy.deepcopy(base).requires_grad_(False).eval()
    return kept if precision == "fp32" else kept.to(getattr(torch, half_of(precision)))
