"""Several base models in one study: findings then use pairs of strategy and model.

Findings count, rank and draw by pair instead of by strategy, since pairs compete.
"""

from __future__ import annotations

from sweeper.plans import Plan
from sweeper.safe_text import clean
from sweeper.traits.traits import StrategyOnModel


def by_pair(plan: Plan) -> Plan:
    """The plan with strategies named ``lora@model`` where models compete, else the plan itself."""
    if len({candidate.model for candidate in plan.candidates}) < 2:
        return plan
    named = (
        candidate.model_copy(update={"strategy": pair(candidate.strategy, candidate.model)})
        for candidate in plan.candidates
    )
    return plan.model_copy(update={"candidates": tuple(named)})


def pair(strategy: str, model: str) -> str:
    """The name of a strategy on one of several base models.

    >>> pair("lora", "packaged:minilm")
    'lora@packaged:minilm'
    """
    return StrategyOnModel(strategy, clean(model)).name
