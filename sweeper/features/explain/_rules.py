"""The reasons for a plan: rules that fired or nearly did, with their effects.

Also finds installed strategies whose marks in charts are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import get_args

from sweeper.facts.record import Facts
from sweeper.planning.rulebook.book import Note, Rule, rule_book
from sweeper.planning.rulebook.conditions import Condition, FactComparison, Group, comparisons
from sweeper.planning.rulebook.effects import fill
from sweeper.planning.rulebook.fact import Value, Values
from sweeper.planning.rulebook.fact_table import FACTS, fact_values
from sweeper.plans import Plan
from sweeper.spec import DataSpec, ModelSpec, SearchSpec, Spec, TrialRequest
from sweeper.traits.traits import COLORS, Shape, known_strategies, traits_of

# A number within this factor of a bound, above or below, is near it.
NEAR_FACTOR = 4.0
# Vega's dash of a line without gaps.
_SOLID = (1, 0)


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule or note that fired for a model, or that one comparison keeps from firing.

    A note has only texts for the user, no title and no reason.

    Args:
        effects: Its effects and texts, one line each. In a near miss, N stands for the fact that
            must change.
        strategies: Strategies that it affects; ``*`` for all.
        missing: What must hold for the rule to fire, such as ``rows >= 500``: the comparison that
            keeps it from firing, or its opposite if it is true now. Empty for a rule that fired.
        fact: Name of the fact in this comparison.
        value: The fact's value now; None if unknown.
    """

    rule: str
    title: str
    model: str
    condition: str
    effects: tuple[str, ...]
    strategies: tuple[str, ...]
    why: str
    source: str
    missing: str = ""
    fact: str = ""
    value: Value = None


def request_of(plan: Plan) -> Spec:
    """The request that a plan's facts imply, for a plan without its sweep.yaml."""
    facts = plan.facts
    return Spec(
        task=facts.task,
        models=tuple(
            ModelSpec(
                id=model.id, revision=model.revision, trust_remote_code=model.trust_remote_code
            )
            for model in facts.models
        ),
        data=DataSpec(path=facts.data.path),
        aim=facts.aim,
        search=SearchSpec(trials=plan.budget.trials, seed=plan.seed),
        trials=tuple(TrialRequest.taken_from(trial) for trial in plan.own_trials),
        parameters=plan.declared,
    )


def fired_rules(spec: Spec, facts: Facts) -> tuple[ExplainedRule, ...]:
    """Every rule and note that fired, model by model, in the order in which they are applied."""
    rules = _rules(spec, facts)
    return tuple(
        _explained_rule(model, values, rule)
        for model, values, rule in rules
        if rule.when.holds(values)
    )


def near_misses(spec: Spec, facts: Facts) -> tuple[ExplainedRule, ...]:
    """Rules and notes that one comparison keeps from firing, the nearest first.

    The comparison is of a number within ``NEAR_FACTOR`` of its bound, or of a fact that the user
    can set.
    """
    misses: list[tuple[float, ExplainedRule]] = []
    for model, values, rule in _rules(spec, facts):
        if rule.when.holds(values):
            continue
        for comparison in comparisons(rule.when):
            distance = _distance(comparison, values)
            if distance is not None and _holds_if_flipped(rule.when, comparison, values):
                fact, missing = (
                    comparison.fact,
                    comparison.shown(holds=not comparison.holds(values)),
                )
                explained = _explained_rule(model, {**values, fact: "N"}, rule)
                miss = replace(explained, missing=missing, fact=fact, value=values[fact])
                misses.append((distance, miss))
                break
    return tuple(miss for _, miss in sorted(misses, key=lambda pair: pair[0]))


def _explained_rule(model: str, values: Values, rule: Note) -> ExplainedRule:
    title, why, strategies = "", "", frozenset(rule.caution)  # a caution for each strategy
    if isinstance(rule, Rule):
        title, why, strategies = rule.title, rule.why, strategies | rule.effects.strategies
    return ExplainedRule(
        rule=rule.id,
        title=title,
        model=model,
        condition=str(rule.when),
        effects=rule.lines(values),
        strategies=tuple(sorted(strategies)),
        why=fill(why, values),
        source=rule.source,
    )


def _distance(comparison: FactComparison, values: Values) -> float | None:
    """Number of doublings between a number and its bound; None if it is not near.

    If the comparison is not of a known number, the largest near distance if the user can set the
    fact, otherwise None.
    """
    value = values[comparison.fact]
    max_doublings = math.log2(NEAR_FACTOR)
    if value is not None and comparison.operator in ("min", "max", "above", "below"):
        amount, bound = float(value), float(comparison.bound)  # type: ignore[arg-type]
        if amount <= 0 or bound <= 0:
            return None
        doublings = abs(math.log2(amount / bound))
        return doublings if doublings <= max_doublings else None
    return max_doublings if FACTS[comparison.fact].set_by_user else None


def _rules(spec: Spec, facts: Facts) -> Iterator[tuple[str, Values, Note]]:
    """Each model's id and values of facts, with each rule and note."""
    for model in facts.models:
        values = fact_values(spec, facts, model)
        for rule in rule_book(spec.rules).rules:
            yield model.id, values, rule


def _holds_if_flipped(condition: Condition, flipped: FactComparison, values: Values) -> bool | None:
    """Whether a condition holds if the comparison ``flipped`` is negated; None if unknown."""
    if isinstance(condition, FactComparison):
        result = condition.holds(values)
        return not result if condition is flipped else result
    results = tuple(_holds_if_flipped(part, flipped, values) for part in condition.parts)
    return Group(condition.kind, condition.parts).join(results)


def mark_clashes() -> list[str]:
    """Sentences on pairs of installed strategies with the same shape or line, and on free ones."""
    marks = {name: traits_of(name).mark for name in known_strategies()}
    lines = {name: (mark.color, *mark.dash) for name, mark in marks.items()}
    shapes = [
        shape for shape in get_args(Shape) if shape not in {mark.shape for mark in marks.values()}
    ]
    colors = [str(color) for color in COLORS if (color, *_SOLID) not in lines.values()]
    clashes = []
    for first, second in combinations(marks, 2):
        same = f"the charts of {first} and {second} have the same"
        if marks[first].shape == marks[second].shape:
            clashes.append(f"{same} shape; free shapes: {', '.join(shapes) or 'none'}")
        if lines[first] == lines[second]:
            free = ", ".join(colors) or "none"
            clashes.append(f"{same} color and dash; colors that are free without a dash: {free}")
    return clashes
