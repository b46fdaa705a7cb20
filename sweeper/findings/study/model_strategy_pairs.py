"""Several base models in one study: findings then use pairs of strategy and model.

What competes is a pair, so that everything which is counted, ranked or drawn by strategy is by pair
here.
"""

from __future__ import annotations

from collections.abc import Callable

from sweeper.plans import Candidate, Plan
from sweeper.redaction import clean
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import TrialConfig

Renamed = Callable[[TrialConfig], TrialConfig]


def by_pair(plan: Plan) -> tuple[Plan, Renamed]:
    """The plan with strategies named ``lora@model`` where models compete, and the renaming.

    With one base model nothing changes.
    """
    if len({candidate.model for candidate in plan.candidates}) < 2:
        return plan, lambda config: config

    def candidate(item: Candidate) -> Candidate:
        return item.model_copy(update={"strategy": pair(item.strategy, item.model)})

    def config(item: TrialConfig) -> TrialConfig:
        return item.model_copy(update={"strategy": pair(item.strategy, item.model)})

    named = tuple(candidate(item) for item in plan.candidates)
    return plan.model_copy(update={"candidates": named}), config


def pair(strategy: str, model: str) -> str:
    """The name of a strategy on one of several base models.

    >>> pair("lora", "packaged:minilm")
    'lora@packaged:minilm'
    """
    return StrategyOnModel(strategy, clean(model)).name
