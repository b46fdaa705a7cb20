"""Gives a trial the base that its first stage has trained on the corpus."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.features.parts import MadeBase
from sweeper.features.pretraining._stage import FirstStage, FirstStages
from sweeper.training.base_model.bases import Bases
from sweeper.trials import TrialConfig


def prepare(bases: Bases) -> Callable[[TrialConfig, int], MadeBase | None]:
    """A function that makes a trial's base; it returns None for a trial without a first stage."""
    stages = FirstStages(bases)

    def base(config: TrialConfig, micro_batch: int) -> MadeBase | None:
        stage = FirstStage.of(config, micro_batch)
        return stages.base(stage) if stage else None

    return base
