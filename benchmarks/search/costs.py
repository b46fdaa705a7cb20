"""What a trial costs: optimizer steps and scored items, times calibrated seconds.

Calibrated on the recorded trials' CPU seconds, so that a busy machine does not count twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from benchmarks.search.design import BATCH
from benchmarks.search.table import Floats, Recorded, Table
from sweeper.plans import TrialBudget
from sweeper.spec import Scalar
from sweeper.training.loop.schedule import optimizer_steps, rung_steps

TARGETS = "target_modules"
# The slowest tenth of the trials were disturbed by whatever else ran.
_KEPT = 0.9


@dataclass(frozen=True)
class Costs:
    """Seconds of one task's trials.

    Args:
        step: Seconds of a step and of an example in it, and of an example at rank 256, by
            strategy and target modules.
        item: Seconds to score one item, by strategy.
        setup: Seconds before the first step, by strategy.
        head: Seconds of the frozen head's one trial.
    """

    train_rows: int
    epochs: float
    rungs: int
    step: Mapping[tuple[str, str], Floats]
    item: Mapping[str, float]
    setup: Mapping[str, float]
    head: float

    @classmethod
    def of(cls, table: Table) -> Costs:
        """Calibrate on a table."""
        timed = _of_one_machine(table.trials)
        tuned = [one for one in timed if BATCH in one.parameters and len(one.steps) > 1]
        kinds = {(one.strategy, str(one.parameters.get(TARGETS, ""))) for one in tuned}
        step = {kind: _fit(_of_kind(tuned, kind)) for kind in kinds}
        names = {one.strategy for one in tuned}
        heads = [one.training_seconds[-1] for one in timed if BATCH not in one.parameters]
        setup = {
            name: max(0.0, _median(_setup(one) for one in tuned if one.strategy == name))
            for name in names
        }
        item = {
            name: _median(_item(one) for one in tuned if one.strategy == name) for name in names
        }
        train = next(split.rows for split in table.plan.facts.data.splits if split.name == "train")
        budget = table.plan.budget
        head = float(np.median(heads)) if heads else 0.0
        return cls(train, budget.epochs, budget.rungs, step, item, setup, head)

    def seconds(
        self,
        strategy: str,
        parameters: Mapping[str, Scalar],
        items: Sequence[int],
        ended: int | None = None,
    ) -> list[float]:
        """Seconds from a trial's start to each of its rungs.

        Args:
            strategy: Of the trial.
            parameters: Of the trial.
            items: How many validation items are scored at each rung of a full budget.
            ended: The rung at which the trial ends; that of its epochs where this is None.
        """
        if strategy not in self.item:
            return [self.head]
        length = TrialBudget(rungs=self.rungs, epochs=self.epochs).rungs_of(parameters)
        epochs = self.epochs * length / self.rungs
        steps = optimizer_steps(self.train_rows, int(parameters[BATCH]), epochs)
        at = {rung: step for step, rungs in rung_steps(steps, length).items() for rung in rungs}
        kind = (strategy, str(parameters.get(TARGETS, "")))
        known = self.step.get(kind)
        per_step = float((self._like(strategy) if known is None else known) @ _features(parameters))
        scored = np.cumsum([*items[: length - 1], items[-1]])
        last = length if ended is None else min(ended, length)
        if last < length:  # there its best weights are scored once more, on all items
            scored[last - 1] += items[-1]
        return [
            float(
                self.setup[strategy] + at[rung] * per_step + self.item[strategy] * scored[rung - 1]
            )
            for rung in range(1, last + 1)
        ]

    def _like(self, strategy: str) -> Floats:
        fits = [fit for (name, _), fit in self.step.items() if name == strategy]
        return np.asarray(np.mean(fits, axis=0))


def _of_one_machine(trials: Sequence[Recorded]) -> list[Recorded]:
    # Of the one that recorded most.
    ((name, _),) = Counter(one.machine for one in trials).most_common(1)
    return [one for one in trials if one.machine == name]


def _features(parameters: Mapping[str, Scalar]) -> Floats:
    batch = float(parameters[BATCH])
    return np.asarray([1.0, batch, batch * float(parameters.get("r", 0)) / 256])


def _of_kind(trials: Sequence[Recorded], kind: tuple[str, str]) -> list[Recorded]:
    return [one for one in trials if (one.strategy, str(one.parameters.get(TARGETS, ""))) == kind]


def _fit(trials: Sequence[Recorded]) -> Floats:
    rows = np.asarray([_features(one.parameters) for one in trials])
    seconds = np.asarray([_per_step(one) for one in trials])
    weights = 1 / seconds  # relative errors count, whatever the batch
    found: Floats = nnls(rows * weights[:, None], seconds * weights)[0]
    excess = seconds / np.maximum(rows @ found, 1e-9)
    kept = excess <= np.quantile(excess, _KEPT)
    if kept.sum() < rows.shape[1]:
        return found
    again: Floats = nnls(rows[kept] * weights[kept, None], (seconds * weights)[kept])[0]
    return again


def _per_step(one: Recorded) -> float:
    # Between the first and the last rung, so that setting up is left out.
    steps, seconds = one.steps, one.training_seconds
    if steps[-1] == steps[0]:
        return float(seconds[-1] / steps[-1])
    return float((seconds[-1] - seconds[0]) / (steps[-1] - steps[0]))


def _setup(one: Recorded) -> float:
    return float(one.training_seconds[0] - one.steps[0] * _per_step(one))


def _item(one: Recorded) -> float:
    scored = one.items.shape[0] * one.items.shape[1] + (len(one.final) if one.complete else 0)
    return float(one.evaluation_seconds[-1] / max(scored, 1))


def _median(numbers: object) -> float:
    values = [value for value in numbers if math.isfinite(value)]  # type: ignore[attr-defined]
    return float(np.median(values)) if values else 0.0
