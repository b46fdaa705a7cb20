"""The objective of a study on the items of a split: one value, and one number an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from sweeper.backend import Underway
from sweeper.data.examples import Example
from sweeper.errors import UsageError
from sweeper.evaluation.written_answers import Answered, answer, passed
from sweeper.metrics import user_function
from sweeper.metrics.base import item_values, metrics
from sweeper.objective import Objective
from sweeper.tasks.base import Evaluation, Floats, Task
from sweeper.tasks.instruction import Instruction


@dataclass(frozen=True)
class ObjectiveScore:
    """The objective's value, and numbers whose mean it is, one for each scored item (see
    ``item_values``)."""

    value: float
    items: Floats

    def costs(self, objective: Objective) -> Floats:
        """What is minimised, item by item."""
        return np.asarray([objective.cost(value) for value in self.items.tolist()])


def from_decisions(
    objective: Objective, task: Task, evaluation: Evaluation, examples: Sequence[Example]
) -> ObjectiveScore | None:
    """The objective of class decisions; None where it is not computed from these."""
    decided = evaluation.decisions
    if objective.of != "classes" or decided is None:
        return None
    decided, examples = decided.only(evaluation.scored), evaluation.of_scored(examples)
    if objective.function:
        predicted = [task.dataset.labels[number] for number in decided.predicted.tolist()]
        return _of(*user_function.measured(objective, predicted, examples))
    return _metric(objective, decided.predicted.tolist(), decided.true.tolist())


def first(evaluation: Evaluation, count: int | None) -> Evaluation:
    """The decisions on the first ``count`` items, for ``from_decisions``; all if None."""
    decisions = evaluation.decisions
    if decisions is None or count is None or count >= len(decisions.true):
        return evaluation
    first = np.arange(len(decisions.true)) < count
    return replace(evaluation, weights=evaluation.weights[first], decisions=decisions.only(first))


def from_answers(
    objective: Objective, answered: Answered, examples: Sequence[Example], underway: Underway
) -> ObjectiveScore:
    """The objective of answers in writing.

    Raises:
        UsageError: Programs are to pass tests, and no item has any.
    """
    texts = [each[0] for each in answered.answers]
    if objective.function:
        return _of(*user_function.measured(objective, texts, examples))
    if objective.of == "programs":
        runs = passed(answered.answers, examples, underway.steps("running programs"))
        if not runs:
            raise UsageError(f"{objective.name} needs items with tests", "No item has any.")
        right = [float(passes[0]) for passes in runs]
        return _metric(objective, right, right)
    return _metric(objective, texts, [example.accepted for example in examples])


def written(
    objective: Objective,
    task: Task,
    model: nn.Module,
    examples: Sequence[Example],
    underway: Underway,
    prompt: Callable[[Example], list[int]] | None = None,
) -> ObjectiveScore | None:
    """The objective of what a model writes; None where it is not computed from answers.

    Args:
        prompt: The tokens that ask for an item's answer; the task's prompt if None.

    Raises:
        UsageError: The task or an item has no answer to write.
    """
    if not objective.of_answers:
        return None
    if not isinstance(task, Instruction) or not all(example.messages for example in examples):
        raise UsageError(
            f"{objective.name} compares answers, and items without a question have none",
            fix="Give data with questions and answers, or choose another objective.",
        )
    answered = answer(task, model, examples, prompt=prompt, underway=underway)
    return from_answers(objective, answered, examples, underway)


def _metric(objective: Objective, first: Sequence[Any], second: Sequence[Any]) -> ObjectiveScore:
    metric = metrics()[objective.metric]
    items = item_values(metric.compute, first, second, per_item=metric.per_item)
    return _of(float(metric.compute(first, second)), items)


def _of(value: float, items: Sequence[float]) -> ObjectiveScore:
    return ObjectiveScore(value, np.asarray(items, dtype=np.float64))
