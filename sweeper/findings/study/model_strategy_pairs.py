"""Pairs of strategy and base model, which compete if a study has several base models.

Findings then count, rank and draw these pairs instead of strategies.
"""

from __future__ import annotations

from sweeper.plans import Candidate, Configuration, Plan, ProposedTrial
from sweeper.safe_text import clean
from sweeper.traits.traits import StrategyOnModel


def with_strategies_on_models(plan: Plan) -> Plan:
    """The plan, with each candidate's strategy replaced by its ``strategy_on_model``."""
    named = (
        candidate.model_copy(update={"strategy": strategy_on_model(plan, candidate)})
        for candidate in plan.candidates
    )
    return plan.model_copy(update={"candidates": tuple(named)})


def strategy_on_model(
    plan: Plan, source: Candidate | Configuration | ProposedTrial
) -> StrategyOnModel:
    """The strategy, with its base model if the plan has several."""
    several = len({candidate.model for candidate in plan.candidates}) > 1
    return StrategyOnModel(source.strategy, clean(source.model) if several else "")
