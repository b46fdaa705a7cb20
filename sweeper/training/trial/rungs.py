"""Scores a trial at its rungs, reports them, keeps the best weights, and stops training early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.backend import Decision
from sweeper.objective import LOSS, Limit, Objective, limits_of, order, violation
from sweeper.spec import Scalar
from sweeper.tasks.task import Evaluation, Floats
from sweeper.training.loop.checkpointing import set_weights, trained_weights
from sweeper.training.loop.extension import Extension, ItemMeasure
from sweeper.training.loop.ranks_here import gathered
from sweeper.training.loop.training_progress import finite
from sweeper.training.trial.trial_job import Final, StopReason, TrialJob

T = TypeVar("T")

# 95% quantile of the normal distribution: the factor of a one-sided 95% interval.
_Z_95_ONE_SIDED = 1.645
# Scored rungs that must follow the best before a trial counts as overfitting: one may be chance.
_MIN_RUNGS_SINCE_BEST = 2


@dataclass(frozen=True)
class RungWeights:
    """A rung, its cost on the validation items that every rung scores, and its weights.

    ``violation`` is how far the rung exceeded the limits; None if that was not measured.
    """

    rung: int
    subset_cost: float
    weights: dict[str, Tensor]
    violation: float | None = None

    def replaced_by(self, cost: float, violation: float | None) -> bool:
        """Whether a later rung with this cost and violation is at least as good."""
        return order(cost, violation) <= order(self.subset_cost, self.violation)


@dataclass(eq=False)
class RungWatch(TrainerCallback):
    """Evaluates at each rung, reports the rung, and stops training if told to.

    The search may prune a trial (state ``PRUNED``). ``Stopping`` or an exceeded
    limit also ends a trial (state ``COMPLETE``, with the weights of its best rung).

    Args:
        model: The model to evaluate: the Trainer's, not wrapped.
        rungs_by_step: The rungs at each optimizer step that has any.
        steps_per_epoch: Optimizer steps of one pass over the data.
        item_weights: ``(items,)`` weights of validation items when the best rung is chosen; equal
            if None. Not used in reports and results.
        extensions: Sources of further measures, such as forgetting.
        pruned_at: The rung at which the search pruned the trial.
        save: Function that writes a rung's checkpoint; None if the trial saves none.
    """

    job: TrialJob
    model: nn.Module
    rungs_by_step: dict[int, list[int]]
    steps_per_epoch: int
    item_weights: Floats | None = None
    extensions: Sequence[Extension] = ()
    pruned_at: int | None = None
    save: Callable[[int], None] | None = None
    _best: RungWeights | None = None
    _last_evaluation: Evaluation | None = None
    _early_stop: tuple[int, StopReason] | None = None
    _last_violation: float | None = None

    def __post_init__(self) -> None:
        config, context = self.job.config, self.job.context
        self._budget, self._evaluator = config.budget, self.job.evaluator()
        self._limits, overfitting = limits_of(context.task.spec), config.budget.stop_overfitting
        self._stopping = Stopping.of(config.parameters, overfitting, context.objective)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # Replaces the progress of tokenising, since the first step may take minutes.
        self.job.context.on_progress("training", self.job.progress.steps, max(self.rungs_by_step))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        progress = self.job.progress
        progress.step()
        self.job.context.on_progress("training", progress.steps, max(self.rungs_by_step))
        rungs = self.rungs_by_step.get(progress.steps)
        if rungs is None:
            return
        progress.check()
        last = self._budget.rungs in rungs
        if not last and not self._budget.choose_rung:
            if self.save is not None:
                self.save(rungs[-1])
            return
        evaluation = self._evaluate(whole=last)
        measured = self.measure()
        exceeded_by = violation(
            {name: item_measure.measure for name, item_measure in measured.items()}, self._limits
        )
        train_loss = progress.take_train_loss()
        epochs = progress.steps / self.steps_per_epoch
        items = self._keep_best(rungs[-1], evaluation, exceeded_by)
        stop = self._stopping.reason_to_stop(RungScore(items, train_loss, epochs))
        # Ranks differ in their batches, so rank 0 decides for all.
        broken_limit = broken_limit_reason(measured, self._limits)
        stop = gathered(StopReason("limit", broken_limit) if broken_limit else stop)[0]
        reports = [
            self.job.rung_report(rung, evaluation, train_loss, epochs, measured) for rung in rungs
        ]
        if self.save is not None and not (stop or last):
            self.save(rungs[-1])
        for report in reports:
            if self.job.tell(report) is Decision.PRUNE:
                self.pruned_at = report.rung
                control.should_training_stop = True
                return
        if stop and not last:
            self._early_stop = rungs[-1], stop
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """The state that later rungs need, except the best weights."""
        best = self._best
        return {
            "best": best
            and {"rung": best.rung, "subset_cost": best.subset_cost, "violation": best.violation},
            "last_excess": self._last_violation,
            "stopping": self._stopping.state(),
        }

    def restore(self, state: dict[str, Any], best_weights: dict[str, Tensor]) -> None:
        """Set the state of an earlier attempt."""
        if state["best"] is not None:
            self._best = RungWeights(weights=best_weights, **state["best"])
        self._last_violation = state["last_excess"]
        self._stopping.restore(state["stopping"])

    def best_weights(self) -> dict[str, Tensor] | None:
        """The weights of the best rung; None if it is the current rung."""
        best = self._best
        return None if best is None or best.rung == self.job.reports[-1].rung else best.weights

    def measure(self, *, at_end: bool = False) -> dict[str, ItemMeasure]:
        """The measures of the model as it is now."""
        measures: dict[str, ItemMeasure] = {}
        for extension in self.extensions:
            measures |= self._timed(partial(extension.measure, self.model, at_end=at_end))
        return measures

    def _evaluate(self, whole: bool) -> Evaluation:
        """Score the model, and count the time as evaluation."""
        count = None if whole else self._budget.rung_items
        evaluation = self._timed(lambda: self._evaluator.evaluate(self.model, count))
        finite(evaluation.loss, "validation loss")
        return evaluation

    def _timed(self, evaluate: Callable[[], T]) -> T:
        start = time.perf_counter()
        self.job.evaluating = True
        evaluation = evaluate()
        self.job.evaluating = False
        self.job.progress.evaluation_seconds += time.perf_counter() - start
        return evaluation

    def _keep_best(self, rung: int, evaluation: Evaluation, exceeded_by: float | None) -> ItemCosts:
        """Keep the weights if they are the best so far; return the item costs that decide this."""
        last = rung == self._budget.rungs
        items = self._deciding_items(evaluation, self._budget.rung_items)
        cost = items.mean
        if last:
            self._last_evaluation = evaluation
        if self._best is None or self._best.replaced_by(cost, exceeded_by):
            weights = {} if last else trained_weights(self.model)
            self._best = RungWeights(rung, cost, weights, exceeded_by)
        self._last_violation = exceeded_by
        return items

    def _deciding_items(self, evaluation: Evaluation, count: int | None = None) -> ItemCosts:
        """Costs of the first ``count`` items (all if None), by which the best weights are chosen.

        These are costs of the objective if it is measured at rungs; otherwise they are losses.
        """
        if (score := self.job.objective_at_rung(evaluation, count)) is not None:
            costs = score.costs(self.job.context.objective)
            return ItemCosts(costs, np.ones_like(costs))
        losses, weights = evaluation.losses[:count], evaluation.weights[:count]
        if self.item_weights is not None:
            weights = weights * self.item_weights[: len(weights)]
        return ItemCosts(losses, weights)

    def finish(self) -> Final:
        """Choose between the last weights and the best rung's, by the whole validation split.

        The model holds the chosen weights afterwards.

        Raises:
            RuntimeError: The last rung was never evaluated: a trial without validation loss.
        """
        if self._early_stop is not None and self._best is not None:
            rung, stop = self._early_stop
            set_weights(self.model, self._best.weights)
            scored = self._evaluate(whole=True)
            return Final(self._best.rung, scored, stopped_by=stop, stopped_at=rung)
        if self._last_evaluation is None or self._best is None:
            raise RuntimeError("the trial ended without a validation loss at its last rung")
        last = Final(self._budget.rungs, self._last_evaluation)
        if self._best.rung == last.rung:
            return last
        last_weights = trained_weights(self.model)
        set_weights(self.model, self._best.weights)
        earlier = Final(self._best.rung, self._evaluate(whole=True))
        earlier_cost = self._deciding_items(earlier.evaluation).mean
        last_cost = self._deciding_items(last.evaluation).mean
        if order(earlier_cost, self._best.violation) < order(last_cost, self._last_violation):
            return earlier
        set_weights(self.model, last_weights)
        return last


@dataclass(frozen=True)
class ItemCosts:
    """Costs of items at a rung, and the items' weights; both of shape ``(items,)``."""

    costs: Floats
    weights: Floats

    @property
    def mean(self) -> float:
        """The mean cost, weighted."""
        return float(np.average(self.costs, weights=self.weights))


@dataclass(frozen=True)
class Rise:
    """The rise of the cost on the same items between two rungs.

    Args:
        mean: Mean rise, in the unit of the cost.
        low: Lower end of its one-sided 95% interval; if above 0, the rise is beyond noise.
    """

    mean: float
    low: float

    @classmethod
    def of(cls, now: ItemCosts, before: ItemCosts) -> Rise:
        """The rise on the items of ``now``, which are the first items of ``before``."""
        count = len(now.costs)
        differences: Floats = now.costs - before.costs[:count]
        shares = now.weights / now.weights.sum()
        mean = float(np.dot(shares, differences))
        weighted_std = float(np.sqrt(np.dot(shares**2, (differences - mean) ** 2)))
        standard_error = weighted_std * math.sqrt(count / max(1, count - 1))
        return cls(mean, mean - _Z_95_ONE_SIDED * standard_error)


def broken_limit_reason(measured: Mapping[str, ItemMeasure], limits: Sequence[Limit]) -> str:
    """The reason to stop a trial that exceeds a limit beyond noise; empty if it exceeds none."""
    for limit in limits:
        for name, item_measure in measured.items():
            figure = item_measure.measure
            if limit.holds_for(name) and limit.is_surely_broken(figure.change, _low(item_measure)):
                return (
                    f"{figure.title}: {figure.change:.3f} {figure.unit}, beyond the limit of "
                    f"{limit.most:g}"
                )
    return ""


def _low(measured: ItemMeasure) -> float | None:
    """The lower 95% bound of a measure's rise; None if its items are unknown."""
    if not len(measured.values):
        return None
    base_costs = ItemCosts(measured.base_values, measured.weights)
    return Rise.of(ItemCosts(measured.values, measured.weights), base_costs).low


@dataclass(frozen=True)
class RungScore:
    """The costs of a trial at a rung.

    Args:
        items: Costs of the task's validation items.
        train_loss: Mean training loss since the previous scored rung, if known.
        epochs: Passes over the train split so far.
    """

    items: ItemCosts
    train_loss: float | None = None
    epochs: float = 0.0


@dataclass
class Stopping:
    """Early stopping by the validation loss or the objective.

    Args:
        patience: Scored rungs in a row without a lower cost after which to stop; None to never
            stop. Similar to criterion UP of Prechelt 1998, Early Stopping - But When?, which counts
            rises in a row.
        overfitting: Whether to stop if rows are seen again, the training loss falls, and the cost
            has risen above its lowest beyond noise.
        objective: Objective of the costs: the named one if it is measured at rungs, else the
            validation loss.
    """

    patience: int | None = None
    overfitting: bool = False
    objective: Objective = LOSS
    _best: RungScore | None = None
    _rungs_since_best: int = field(default=0)

    @classmethod
    def of(
        cls, parameters: dict[str, Scalar], overfitting: bool = False, objective: Objective = LOSS
    ) -> Stopping:
        """The early stopping of a trial with these hyperparameters."""
        patience = parameters.get("early_stopping_patience")
        return cls(
            None if patience is None else int(patience),
            overfitting,
            objective if objective.at_rungs else LOSS,
        )

    def state(self) -> dict[str, Any]:
        """The best rung so far, and the number of rungs after it."""
        best = self._best
        if best is None:
            return {"best": None, "waited": self._rungs_since_best}
        score = {
            "costs": best.items.costs.tolist(),
            "weights": best.items.weights.tolist(),
            "train_loss": best.train_loss,
            "epochs": best.epochs,
        }
        return {"best": score, "waited": self._rungs_since_best}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the state of an earlier attempt."""
        self._rungs_since_best, best = state["waited"], state["best"]
        if best is not None:
            items = ItemCosts(np.array(best["costs"]), np.array(best["weights"]))
            self._best = RungScore(items, best["train_loss"], best["epochs"])

    def reason_to_stop(self, score: RungScore) -> StopReason | None:
        """The reason to stop at this rung; None to go on."""
        best = self._best
        if best is None or score.items.mean < best.items.mean:
            self._best, self._rungs_since_best = score, 0
        else:
            self._rungs_since_best += 1
        if self.patience is not None and self._rungs_since_best >= self.patience:
            text = f"{self.objective.title} did not improve in {self._rungs_since_best} rungs"
            return StopReason("patience", text)
        if self.overfitting and best is not None and self._overfits(score, best):
            objective = self.objective
            change = f"{objective.title} {'fell' if objective.higher_is_better else 'rose'}"
            best_value, value = (objective.value(rung.items.mean) for rung in (best, score))
            text = (
                f"it overfits: {change} from {best_value:.4g} to {value:.4g}, beyond noise, while "
                f"training loss fell to {score.train_loss:.4g}"
            )
            return StopReason("overfitting", text)
        return None

    def _overfits(self, score: RungScore, best: RungScore) -> bool:
        if self._rungs_since_best < _MIN_RUNGS_SINCE_BEST or score.epochs <= 1:
            return False
        if score.train_loss is None or best.train_loss is None:
            return False
        return score.train_loss < best.train_loss and Rise.of(score.items, best.items).low > 0.0
