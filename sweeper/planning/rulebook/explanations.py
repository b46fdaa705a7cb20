"""The reasons for a plan: rules that fired, rules that nearly fired, and their effects.

Pure functions over the rule book; they return records and print nothing. What would change the
decision is ``counterfactuals``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sweeper.facts.record import Facts
from sweeper.planning.rulebook.conditions import Condition, FactComparison, Group, comparisons
from sweeper.planning.rulebook.effects import QUESTIONS, Change, Effects, fill
from sweeper.planning.rulebook.fact import Value, Values
from sweeper.planning.rulebook.fact_table import FACTS, fact_values
from sweeper.planning.rulebook.rules import Rule, rule_book
from sweeper.plans import Plan
from sweeper.spec import DataSpec, ModelSpec, Scalar, SearchSpec, Spec
from sweeper.units import joined, setting

# A number is near a bound within this factor of it, or within this share of one.
NEAR_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class FiredRule:
    """A rule that fired for a model, with its condition and effects.

    Args:
        strategies: Those that it changes something about; ``*`` for every one.
    """

    rule: str
    title: str
    model: str
    condition: str
    effects: tuple[str, ...]
    strategies: tuple[str, ...]
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that one comparison keeps from firing.

    Args:
        missing: What must hold: the comparison that fails, or the opposite of one that must not.
        fact: The name of the fact in it.
        value: The fact as it is; None where it is not known.
        effects: What the rule would do, with N for the fact that would have to change.
    """

    rule: str
    title: str
    model: str
    missing: str
    fact: str
    value: Value
    effects: tuple[str, ...]
    source: str


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
        trials=plan.own_trials,
        parameters=plan.declared,
    )


def fired_rules(spec: Spec, facts: Facts) -> tuple[FiredRule, ...]:
    """Every rule that fired, model by model, in the order in which rules are applied."""
    return tuple(
        FiredRule(
            rule=rule.id,
            title=rule.title,
            model=model,
            condition=str(rule.when),
            effects=effect_texts(rule.effects, values),
            strategies=tuple(sorted(rule.effects.strategies)),
            why=fill(rule.why, values),
            source=rule.source,
        )
        for model, values, rule in _rules(spec, facts)
        if rule.when.holds(values)
    )


def near_misses(spec: Spec, facts: Facts) -> tuple[NearMiss, ...]:
    """Rules that one comparison keeps from firing, the nearest first.

    Counts numbers within a factor of four of their bound, and facts that the user can set.
    Facts that the user cannot change (the task, the model's kind) do not count.
    """
    found: list[tuple[float, NearMiss]] = []
    for model, values, rule in _rules(spec, facts):
        if rule.when.holds(values):
            continue
        for test in comparisons(rule.when):
            distance = _distance(test, values)
            if distance is not None and _with(rule.when, test, values):
                found.append((distance, _near_miss(model, rule, test, values)))
                break
    return tuple(miss for _, miss in sorted(found, key=lambda pair: pair[0]))


def _near_miss(model: str, rule: Rule, test: FactComparison, values: Values) -> NearMiss:
    return NearMiss(
        rule=rule.id,
        title=rule.title,
        model=model,
        missing=test.shown(holds=not test.holds(values)),
        fact=test.fact,
        value=values[test.fact],
        effects=effect_texts(rule.effects, {**values, test.fact: "N"}),
        source=rule.source,
    )


def _distance(test: FactComparison, values: Values) -> float | None:
    """Number of doublings between a fact and its bound; None if the fact is not near it."""
    value = values[test.fact]
    far = math.log2(NEAR_FACTOR)
    if value is not None and test.operator in ("min", "max", "above", "below"):
        number, bound = float(value), float(test.bound)  # type: ignore[arg-type]
        if number <= 0 or bound <= 0:
            return None
        doublings = abs(math.log2(number / bound))
        return doublings if doublings <= far else None
    return far if FACTS[test.fact].chosen else None


def effect_texts(effects: Effects, values: Values) -> tuple[str, ...]:
    """What a rule does, one line an effect."""
    texts = [f"score of {name} {weight:+g}" for name, weight in effects.weights.items()]
    texts += [
        f"{name} should reach {share:.0%} of full's quality"
        for name, share in effects.shares.items()
    ]
    texts += [f"not usable: {joined(effects.exclude)}"] if effects.exclude else []
    texts += [f"left out unless named: {joined(effects.leave_out)}"] if effects.leave_out else []
    texts += [f"{change.target}: {_change_text(change)}" for change in effects.changes]
    told = [("warning", effects.warning), ("advice", effects.advice)]
    told += [(f"caution about {name}", text) for name, text in effects.cautions.items()]
    texts += [f"{what}: {fill(text, values)}" for what, text in told if text]
    texts += [f"{QUESTIONS[name]} {fill(one, values)}" for name, one in effects.answers.items()]
    return tuple(texts)


def _change_text(change: Change) -> str:
    parts = []
    if change.span:
        parts.append(f"{setting(change.span[0])} to {setting(change.span[1])}")
    if change.choices:
        parts.append(joined([_value(choice) for choice in change.choices], "or"))
    if change.default is not None:
        parts.append(f"default {_value(change.default)}")
    if change.default_from is not None:
        parts.append(f"default {change.default_from.times:g} x {change.default_from.fact}")
    if change.searched is not None:
        parts.append("searched" if change.searched else "not searched")
    return ", ".join(parts)


def _value(value: Scalar) -> str:
    return str(value) if isinstance(value, bool | str) else setting(value)


def _rules(spec: Spec, facts: Facts) -> Iterator[tuple[str, Values, Rule]]:
    for model in facts.models:
        values = fact_values(spec, facts, model)
        for rule in rule_book(spec.rules).rules:
            yield model.id, values, rule


def _with(condition: Condition, flipped: FactComparison, values: Values) -> bool | None:
    """The condition's value with the result of one comparison reversed."""
    if isinstance(condition, FactComparison):
        result = condition.holds(values)
        return not result if condition is flipped else result
    results = tuple(_with(part, flipped, values) for part in condition.parts)
    return Group(condition.kind, condition.parts).join(results)
