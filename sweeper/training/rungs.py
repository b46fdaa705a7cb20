"""Validation at rungs while a trial trains: measure, report, obey, remember the best weights.

Knows the Trainer only through its callback; knows nothing of strategies or of the search.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.backend import Decision, Interrupted
from sweeper.tasks.base import Evaluation
from sweeper.training.job import Final, Job
from sweeper.training.memory_guard import Phase
from sweeper.training.progress import finite


@dataclass(frozen=True)
class Standing:
    """A rung, its loss on the nested subset of validation items, and the weights it had."""

    rung: int
    subset_loss: float
    weights: dict[str, Tensor]


class RungWatch(TrainerCallback):
    """Evaluates at each rung and asks whether to go on.

    Args:
        job: The trial; its progress is counted on.
        model: What is evaluated: the Trainer's, not wrapped.
        at: Optimizer step to the rungs that lie there.
        steps_per_epoch: Optimizer steps of one pass over the data.
        phase: Told when evaluation begins and ends.
    """

    def __init__(
        self,
        job: Job,
        model: nn.Module,
        at: dict[int, list[int]],
        steps_per_epoch: int,
        phase: Phase,
    ) -> None:
        self._job = job
        self._model = model
        self._at = at
        self._steps_per_epoch = steps_per_epoch
        self._phase = phase
        self._budget = job.config.budget
        self._judge = job.judge()
        self._best: Standing | None = None
        self._last: Evaluation | None = None
        self.pruned_at: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        progress = self._job.progress
        progress.step()
        if self._job.should_stop():
            raise Interrupted
        rungs = self._at.get(progress.steps)
        if rungs is None:
            return
        progress.check()
        evaluation = self._evaluate(whole=self._budget.rungs in rungs)
        train_loss = progress.take_train_loss()
        for rung in rungs:
            epochs = progress.steps / self._steps_per_epoch
            if self._job.tell(rung, evaluation, train_loss, epochs) is Decision.PRUNE:
                self.pruned_at = rung
                control.should_training_stop = True
                return
        self._remember(rungs[-1], evaluation)

    def _evaluate(self, whole: bool) -> Evaluation:
        """Score the model; time it apart from training.

        Raises:
            Diverged: The validation loss is not finite.
        """
        start = time.perf_counter()
        self._phase.evaluating = True
        evaluation = self._judge.evaluate(self._model, None if whole else self._budget.rung_items)
        self._phase.evaluating = False
        self._job.progress.evaluation_seconds += time.perf_counter() - start
        finite(evaluation.loss, "validation loss")
        return evaluation

    def _remember(self, rung: int, evaluation: Evaluation) -> None:
        last = rung == self._budget.rungs
        count = self._budget.rung_items
        loss = np.average(evaluation.losses[:count], weights=evaluation.weights[:count])
        if last:
            self._last = evaluation
        if self._best is None or loss <= self._best.subset_loss:
            weights = {} if last else trained_weights(self._model)
            self._best = Standing(rung, float(loss), weights)

    def finish(self) -> Final:
        """Choose between the last weights and the best rung's, by the whole validation split.

        The model holds the chosen weights afterwards.

        Raises:
            RuntimeError: The last rung was never evaluated: a trial without validation loss.
        """
        if self._last is None or self._best is None:
            raise RuntimeError("the trial ended without a validation loss at its last rung")
        last = Final(self._budget.rungs, self._last)
        if self._best.rung == last.rung:
            return last
        kept = trained_weights(self._model)
        set_weights(self._model, self._best.weights)
        earlier = Final(self._best.rung, self._evaluate(whole=True))
        if earlier.evaluation.loss < last.evaluation.loss:
            return earlier
        set_weights(self._model, kept)
        return last


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy in main memory of everything that trains."""
    return {
        name: weight.detach().to("cpu", copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def set_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put copied weights back."""
    named = dict(model.named_parameters())
    for name, weight in weights.items():
        named[name].data.copy_(weight)
