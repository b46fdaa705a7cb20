"""Several base models in one study: findings speak of pairs of strategy and model then.

What competes is a pair, so that everything which is counted, ranked or drawn by strategy is by pair
here. Knows names only.
"""

from __future__ import annotations

from collections.abc import Callable

from sweeper.plans import Candidate, Plan
from sweeper.redaction import clean
from sweeper.trials import TrialConfig

Renamed = Callable[[TrialConfig], TrialConfig]


def by_pair(plan: Plan) -> tuple[Plan, Renamed]:
    """The plan and what renames its trials: ``lora@model`` for ``lora`` where models compete.

    With one base model nothing changes.
    """
    if len({candidate.model for candidate in plan.candidates}) < 2:
        return plan, lambda config: config

    def candidate(one: Candidate) -> Candidate:
        return one.model_copy(update={"strategy": pair(one.strategy, one.model)})

    def config(one: TrialConfig) -> TrialConfig:
        return one.model_copy(update={"strategy": pair(one.strategy, one.model)})

    named = tuple(candidate(one) for one in plan.candidates)
    return plan.model_copy(update={"candidates": named}), config


def pair(strategy: str, model: str) -> str:
    """What a strategy on one of several base models is called.

    >>> pair("lora", "packaged:minilm")
    'lora@packaged:minilm'
    """
    return f"{strategy}@{clean(model)}"
