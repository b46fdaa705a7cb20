"""The reasons for a plan: rules that fired, rules that nearly fired, and their effects.

Pure functions over the rule book; they return records and print nothing. What would change the
decision is ``counterfactuals``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sweeper.facts.record import Facts
from sweeper.planning.rulebook.conditions import Condition, FactComparison, Group, comparisons
from sweeper.planning.rulebook.effects import EVERY, QUESTIONS, Change, Effects, fill
from sweeper.planning.rulebook.fact import Values, show
from sweeper.planning.rulebook.fact_table import FACTS, fact_values
from sweeper.planning.rulebook.rules import Rule, rule_book
from sweeper.plans import Plan, expected_share
from sweeper.spec import DataSpec, ModelSpec, Scalar, SearchSpec, Spec
from sweeper.units import joined, setting

# A number is near a bound within this factor of it, or within this share of one.
NEAR_FACTOR = 4.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FiredRule:
    """A rule that fired for a model, with its condition and effects."""

    rule: str
    title: str
    model: str
    condition: str
    effects: tuple[str, ...]
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that one comparison keeps from firing.

    Args:
        missing: What must hold: the comparison that fails, or the opposite of one that must not.
        value: The fact as it is.
        gap: How far the fact is from the bound, with its unit; empty where there is no distance.
        effects: What the rule would do, with N for the fact that would have to change.
    """

    rule: str
    title: str
    model: str
    missing: str
    value: str
    gap: str
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
    found = []
    for model, values, rule in _rules(spec, facts):
        if rule.when.holds(values):
            effects = effect_texts(rule.effects, values)
            condition, why = str(rule.when), fill(rule.why, values)
            found.append(
                FiredRule(rule.id, rule.title, model, condition, effects, why, rule.source)
            )
    return tuple(found)


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
        missing=test.opposite if test.holds(values) else str(test),
        value=show(values[test.fact]),
        gap=_gap(test, values),
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
    """What a rule does, one short phrase an effect; strategies with the same effect together."""
    weights = _together(effects.weights.items())
    texts = [f"score of {names} {weight:+g}" for weight, names in weights]
    texts += [f"{name} should reach {expected_share(one)}" for name, one in effects.shares.items()]
    if effects.exclude:
        cannot = (
            "no strategy can" if effects.exclude == EVERY else f"{joined(effects.exclude)} cannot"
        )
        texts.append(f"{cannot} be used")
    if effects.leave_out:
        texts.append(f"{joined(effects.leave_out)}: left out unless named (--strategies)")
    changes = _together(
        (one.strategy, (one.parameter, _change_text(one))) for one in effects.changes
    )
    texts += [f"{parameter} of {names}: {text}" for (parameter, text), names in changes]
    told = [("warning", effects.warning), ("advice", effects.advice)]
    cautions = _together(effects.cautions.items())
    told += [(f"caution about {names}", text) for text, names in cautions]
    texts += [f"{what}: {fill(text, values)}" for what, text in told if text]
    texts += [f"{QUESTIONS[name]} {fill(one, values)}" for name, one in effects.answers.items()]
    return tuple(texts)


def _together(effects: Iterable[tuple[str, T]]) -> Iterator[tuple[T, str]]:
    """Each effect once, with the strategies that have it."""
    found: dict[T, list[str]] = {}
    for strategy, effect in effects:
        found.setdefault(effect, []).append("every strategy" if strategy == EVERY else strategy)
    return ((effect, joined(names)) for effect, names in found.items())


def _change_text(change: Change) -> str:
    parts = []
    for word, span in (
        ("", change.span),
        ("narrowed to ", change.narrow),
        ("widened to ", change.widen),
    ):
        if span:
            parts.append(f"{word}{setting(span[0])} to {setting(span[1])}")
    if change.scale:
        parts.append(f"times {change.scale:g}")
    choices = [_value(choice) for choice in change.choices or ()]
    if choices:
        parts.append(joined(choices, "or") if choices[1:] else f"only {choices[0]}")
    if change.default is not None and [_value(change.default)] != choices:
        parts.append(f"default {_value(change.default)}")
    if change.default_from is not None:
        fact = change.default_from.fact
        subject, ends, rest = FACTS[fact].clause.partition(" is {}")
        fact = subject if ends and not rest else fact.replace("_", " ")
        parts.append(f"default {change.default_from.times:g} x {fact}")
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


def _gap(test: FactComparison, values: Values) -> str:
    value = values[test.fact]
    if test.operator not in ("min", "max", "above", "below") or value is None:
        return ""
    distance = abs(float(test.bound) - float(value))  # type: ignore[arg-type]
    if distance == 0:
        return ""
    rises = (test.operator in ("min", "above")) != bool(test.holds(values))
    unit = FACTS[test.fact].unit
    unit = unit.removesuffix("s") if distance == 1 and not unit.endswith("ss") else unit
    number = show(distance if distance < 100 else round(distance))
    if unit == "1e9":
        number, unit = f"{number}B", "parameters"
    return " ".join(filter(None, [number, unit, "more" if rises else "fewer"]))
