"""Everything that trials of one base model share, made once per worker."""

from __future__ import annotations

from functools import cached_property

from sweeper.evaluation.baselines import FrozenProbe, Majority, Tfidf
from sweeper.tasks.base import Baseline
from sweeper.tasks.classification import Classification
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.training.base_model.bases import Bases
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.frozen_features import FrozenFeatures
from sweeper.training.base_model.general_text import GeneralSet


class SharedModel:
    """A base model with its data and everything that trials compute from it once."""

    def __init__(self, context: ModelContext) -> None:
        self.context = context
        self.features = FrozenFeatures(context)
        self.bases = Bases(context)
        self.general = GeneralSet(context)

    def part(self, rows: int, seed: int) -> SharedModel:
        """The same model with so many of the training rows; bases and text stay."""
        made = SharedModel(self.context.part(rows, seed))
        made.bases, made.general = self.bases, self.general
        return made

    @cached_property
    def baselines(self) -> tuple[Baseline, ...]:
        """Every baseline, cheapest first."""
        task, features = self.context.task, self.features
        if not isinstance(task, Classification | GenerateLabel):
            return tuple(task.baselines(self.context))
        classes, told = features.classification, self.context.underway
        return (
            Majority(classes),
            Tfidf(classes, told.steps("fitting a logistic regression")),
            FrozenProbe(classes, lambda: features.probe, features.pooled),
            *task.baselines(self.context),
        )
