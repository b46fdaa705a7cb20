"""What all trials of one base model share, made once per worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from sweeper.evaluation.baselines import FrozenProbe, Majority, Tfidf
from sweeper.tasks.classification import Classification
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.task import Baseline
from sweeper.training.base_model.bases import Bases
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.frozen_features import FrozenFeatures

T = TypeVar("T")


class SharedModel:
    """A base model with its data and everything that trials compute from it once."""

    def __init__(self, context: ModelContext) -> None:
        self.context = context
        self.frozen_features = FrozenFeatures(context)
        # Bases that sweeper's features make; their trials train on these instead of the model's.
        self.prepared_bases = Bases(context)
        self._with_all_rows = self
        self._feature_values: dict[str, Any] = {}

    def part(self, rows: int, seed: int) -> SharedModel:
        """The same model with only ``rows`` of the training rows.

        It shares everything that does not depend on them.
        """
        reduced = SharedModel(self.context.part(rows, seed))
        reduced.prepared_bases, reduced._with_all_rows = self.prepared_bases, self._with_all_rows
        return reduced

    def feature_value(self, name: str, make: Callable[[ModelContext], T]) -> T:
        """A value that one of sweeper's features computes once for all trials, with all rows.

        Args:
            name: The feature's name, such as ``forgetting``.
        """
        shared = self._with_all_rows
        if name not in shared._feature_values:
            shared._feature_values[name] = make(shared.context)
        computed: T = shared._feature_values[name]
        return computed

    @cached_property
    def baselines(self) -> tuple[Baseline, ...]:
        """The baselines of the task, cheapest first."""
        task, frozen = self.context.task, self.frozen_features
        if not isinstance(task, Classification | GenerateLabel):
            return tuple(task.baselines(self.context))
        classification, on_progress = frozen.classification, self.context.on_progress
        return (
            Majority(classification),
            Tfidf(classification, on_progress.steps("fitting a logistic regression")),
            FrozenProbe(classification, lambda: frozen.probe, frozen.pooled),
            *task.baselines(self.context),
        )
