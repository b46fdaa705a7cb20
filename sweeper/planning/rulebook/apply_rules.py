"""Applies the rules to each strategy: its expected quality, reasons and parameters on a model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeper.planning.rulebook.book import Note, Rule, RuleBook
from sweeper.planning.rulebook.effects import EVERY, Change, fill
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.strategy_files import BookStrategy
from sweeper.plans import Parameter, ParameterRange, Prior, Quality, Reason
from sweeper.spec import Scalar

# Priors where none is published: the share of the weight that the default among choices gets, and
# the width of a number's range in standard deviations of a normal prior around its default.
DEFAULT_SHARE = 0.5
STDS_IN_RANGE = 4.0

# Least factor between a default and the bounds of a logarithmic range.
MIN_ROOM_FACTOR = 1.5

# From a parameter's name to the rules that changed it, in order, each with the parameter after it.
_History = dict[str, list[tuple[Rule, Parameter]]]


@dataclass
class RatedStrategy:
    """A strategy after all rules that fired were applied, for one base model.

    Args:
        refused: Reason, rule (empty for an unmet requirement) and source if the strategy cannot
            work; else None.
        left_out: The rule by which it competes only if the user names it; None without one.
    """

    strategy: BookStrategy
    quality: Quality
    reasons: list[Reason] = field(default_factory=list)
    cautions: list[Reason] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    refused: tuple[str, str, str] | None = None
    left_out: Rule | None = None


def fired(book: RuleBook, values: Values) -> tuple[Note, ...]:
    """The rules and notes whose condition holds, in the order they are applied."""
    return tuple(rule for rule in book.rules if rule.when.holds(values))


def rated_strategies(book: RuleBook, values: Values) -> dict[str, RatedStrategy]:
    """Every strategy after the rules, for the facts of one model."""
    rules = fired(book, values)
    return {name: _rated(each, rules, values) for name, each in book.strategies.items()}


def _quality(strategy: BookStrategy, rules: Iterable[Note], values: Values) -> Quality:
    """The estimate of a strategy's file, pooled with those of the rules that fired.

    A rule's estimate is its ``gap``: points against LoRA on the same model.
    """
    estimates = [Quality(mean=strategy.quality.points, sd=strategy.quality.sd)]
    for rule in rules:
        if isinstance(rule, Rule) and strategy.name in rule.effects.gap:
            estimate = rule.effects.gap[strategy.name].quality(values)
            estimates += [] if estimate is None else [estimate]
    return Quality.pooled(estimates)


def notes(
    rules: Iterable[Note], values: Values, kind: Literal["warning", "advice"]
) -> tuple[Reason, ...]:
    """The warnings or the advice about the whole plan."""
    texts = ((rule, getattr(rule, kind)) for rule in rules)
    return tuple(_reason(rule, fill(text, values)) for rule, text in texts if text)


def _reason(rule: Note, why: str, **effects: Any) -> Reason:
    title = rule.title if isinstance(rule, Rule) else ""
    return Reason(rule=rule.id, title=title, why=why, source=rule.source, **effects)


def _rated(strategy: BookStrategy, rules: tuple[Note, ...], values: Values) -> RatedStrategy:
    rated = RatedStrategy(strategy, _quality(strategy, rules, values))
    rated.parameters = {
        name: declared.parameter
        for name, declared in strategy.parameters.items()
        if declared.when.holds(values) and not declared.optional
    }
    for requirement in strategy.requires:
        if not requirement.when.holds(values):
            rated.refused = (requirement.otherwise, "", requirement.source)
    applied: _History = defaultdict(list)
    held_back: _History = defaultdict(list)
    for rule in rules:
        if strategy.name in rule.caution:
            rated.cautions.append(_reason(rule, fill(rule.caution[strategy.name], values)))
        if isinstance(rule, Rule):
            _apply(rule, rated, values, applied, held_back)
    rated.cautions += _cautions_of_user_files(rated, held_back)
    for name, parameter in rated.parameters.items():
        widened = _widened_beyond_default(parameter)
        rated.parameters[name] = widened.model_copy(update={"prior": prior_of(widened)})
    rated.cautions += _disagreements(applied, rated.parameters)
    order = {rule.id: number for number, rule in enumerate(rules)}
    rated.cautions.sort(key=lambda caution: order[caution.rule])
    return rated


def _widened_beyond_default(parameter: Parameter) -> Parameter:
    """The parameter with a range that extends beyond its default on both sides.

    From a default on a bound the search could move to one side only. The new range is within the
    allowed one.
    """
    if not parameter.searched or parameter.kind == "categorical" or parameter.low == parameter.high:
        return parameter
    low, high = _number(parameter.low), _number(parameter.high)
    default = float(parameter.default)
    margin = (high - low) / STDS_IN_RANGE
    room = default - margin, default + margin
    if parameter.log:
        room = default / MIN_ROOM_FACTOR, default * MIN_ROOM_FACTOR
    floor, ceiling = _number(parameter.allowed_low), _number(parameter.allowed_high)
    update = {}
    if default <= low:
        update["low"] = _rounded_end(parameter, max(room[0], floor))
    if default >= high:
        update["high"] = _rounded_end(parameter, min(room[1], ceiling))
    return parameter.model_copy(update=update)


def _apply(
    rule: Rule, rated: RatedStrategy, values: Values, applied: _History, held_back: _History
) -> None:
    """Apply one rule to a strategy.

    Args:
        applied: Receives the changes of parameters.
        held_back: Receives changes that the user's own strategy file overrules.
    """
    name, effects = rated.strategy.name, rule.effects
    if effects.strategies.isdisjoint((name, EVERY)):
        return
    changes: dict[str, ParameterRange] = {}
    gap = effects.gap[name].quality(values) if name in effects.gap else None
    if effects.exclude == EVERY or name in effects.exclude:
        # Replaces an unmet requirement: most rules that exclude are about a model that cannot do
        # the task with any strategy, which matters more.
        rated.refused = (fill(rule.why, values), rule.id, rule.source)
    if name in effects.leave_out:
        rated.left_out = rule
    for change in effects.changes:
        old = rated.parameters.get(change.parameter)
        if old is None or change.strategy not in (EVERY, name):
            continue
        blocked = rated.strategy.layer(change.parameter) > rule.layer
        if blocked and held_back[change.parameter]:
            old = held_back[change.parameter][-1][1]
        new = changed(old, _resolved(change, old, values), rule, fill(rule.why, values))
        if blocked:
            held_back[change.parameter].append((rule, new))
            continue
        rated.parameters[change.parameter] = new
        changes[change.parameter] = new.range
        if name in rule.caution:
            applied[change.parameter].clear()  # the rule's caution says what it overrules
        applied[change.parameter].append((rule, new))
    if gap or changes:
        why = fill(rule.why, values)
        rated.reasons.append(_reason(rule, why, gap=gap, changes=changes))


def _resolved(change: Change, parameter: Parameter, values: Values) -> Change:
    """The change with numbers for these facts in place of its curves."""
    curves = (change.low_from, change.high_from, change.default_from)
    low, high, default = (None if curve is None else curve.value(values) for curve in curves)
    if parameter.kind == "categorical":
        if default is None:
            return change
        number = math.floor(default + 1e-9)
        choices = tuple(dict.fromkeys((max(number // 2, 1), number, 2 * number)))
        return change.model_copy(update={"default": number, "choices": choices})
    span = change.span or (_number(parameter.low), _number(parameter.high))
    low, high = span[0] if low is None else low, span[1] if high is None else high
    update: dict[str, object] = {"span": (min(low, high), max(low, high))}
    if default is not None:
        room = MIN_ROOM_FACTOR if parameter.log else 1.0
        update["default"] = default
        update["span"] = (min(low, default / room), max(high, default * room))
    return change.model_copy(update=update)


def _refines(new: Parameter, old: Parameter) -> bool:
    """Whether the new range or choices are within the old ones, which is not a disagreement."""
    if new.choices is not None:
        return set(new.choices) <= set(old.choices or ())
    return _number(old.low) <= _number(new.low) and _number(new.high) <= _number(old.high)


def _disagreements(applied: _History, final: Mapping[str, Parameter]) -> Iterator[Reason]:
    """A caution for each parameter to which the last rule gives other ranges than an earlier one.

    Of several earlier rules it names the latest.
    """
    for parameter, history in applied.items():
        rule, new = history[-1]
        for earlier, old in reversed(history[:-1]):
            if not _refines(new, old):
                used = final[parameter].range
                adjusted = f", as {used}" if used != new.range else ""
                text = (
                    f"{parameter}: two rules disagree. {earlier.id} gives {old.range} "
                    f"({earlier.source}), {rule.id} gives {new.range} ({rule.source}). The plan "
                    f"uses the second{adjusted}."
                )
                changes = {parameter: new.range}
                yield _reason(rule, text, changes=changes, disagrees_with=earlier.id)
                break


def _cautions_of_user_files(rated: RatedStrategy, held_back: _History) -> Iterator[Reason]:
    """A caution for each parameter that a user's strategy file keeps rules from changing."""
    for parameter, history in held_back.items():
        rule, by_rules = history[-1]
        kept, given = rated.parameters[parameter].range, by_rules.range
        if kept != given:
            rules = ", ".join(dict.fromkeys(rule.id for rule, _ in history))
            text = (
                f"{parameter}: your own strategy file gives {kept}, and the plan keeps it. The "
                f"rules of sweeper ({rules}) would give {given}. To use them, leave {parameter} "
                "out of your file. A rule of your own can also change it."
            )
            yield _reason(rule, text, changes={parameter: given}, applied=False)


def changed(parameter: Parameter, change: Change, rule: Rule, why: str) -> Parameter:
    """A parameter after one rule. Numbers stay in the allowed range; new choices become allowed."""
    update: dict[str, object] = {}
    if change.searched is not None:
        update["searched"] = change.searched
    if change.choices is not None:
        allowed = dict.fromkeys((*(parameter.allowed_choices or ()), *change.choices))
        update |= {"choices": change.choices, "allowed_choices": tuple(allowed)}
    if parameter.kind != "categorical":
        floor, ceiling = _number(parameter.allowed_low), _number(parameter.allowed_high)
        ends = change.span or (parameter.low, parameter.high)
        for name, end in zip(("low", "high"), ends, strict=True):
            update[name] = _rounded_end(parameter, min(max(_number(end), floor), ceiling))
    update["default"] = _default(parameter, change, update)
    if change.prior is not None:
        update["prior"] = change.prior
    update |= {"source": rule.source, "why": f"{rule.title}: {why}"}
    return parameter.model_copy(update=update)


def _rounded_end(parameter: Parameter, end: float) -> float:
    """An end of a range, whole or with three digits."""
    return float(round(end) if parameter.kind == "int" else f"{end:.3g}")


def _default(parameter: Parameter, change: Change, update: dict[str, object]) -> Scalar:
    """The default after a change: within the new range, and away from its bounds if it was not set.

    Args:
        update: The new ends of the range.
    """
    value = parameter.default if change.default is None else change.default
    if parameter.kind == "categorical":
        choices = change.choices or parameter.choices or ()
        return value if value in choices else choices[0]
    number = float(value)
    low, high = _number(update["low"]), _number(update["high"])
    number = min(max(number, low), high)
    if change.default is None and parameter.searched and number in (low, high):
        number = _away_from_bounds(parameter.model_copy(update={"low": low, "high": high}), number)
    digits = 3 if parameter.log else 5
    return round(number) if parameter.kind == "int" else float(f"{number:.{digits}g}")


def _away_from_bounds(parameter: Parameter, value: float) -> float:
    """The value, or the nearest one that leaves room for a search on both sides of it."""
    low, high = _number(parameter.low), _number(parameter.high)
    middle, margin = (low + high) / 2, (high - low) / STDS_IN_RANGE
    inner = low + margin, high - margin
    if parameter.log:
        middle, inner = math.sqrt(low * high), (low * MIN_ROOM_FACTOR, high / MIN_ROOM_FACTOR)
    return min(max(value, min(inner[0], middle)), max(inner[1], middle))


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def prior_of(parameter: Parameter) -> Prior:
    """The declared prior if it still fits the range, else one around the default."""
    declared = parameter.prior
    if parameter.kind == "categorical":
        choices = parameter.choices or ()
        if declared and declared.weights and len(declared.weights) == len(choices):
            return declared
        rest = (1.0 - DEFAULT_SHARE) / max(len(choices) - 1, 1)
        share = 1.0 if len(choices) == 1 else DEFAULT_SHARE
        return Prior(weights=tuple(share if c == parameter.default else rest for c in choices))
    low, high = _number(parameter.low), _number(parameter.high)
    if declared and declared.center is not None and low <= declared.center <= high:
        return declared
    width = math.log10(high / low) if parameter.log else high - low
    return Prior(center=float(parameter.default), spread=round(width / STDS_IN_RANGE, 4))
