"""The ``when`` of a rule: comparisons of named facts, joined by ``all``, ``any`` and ``not``.

A condition is data, never code. A comparison with a fact that is not known is unknown, and a rule
fires only where its condition is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from sweeper.errors import near_match
from sweeper.planning.rulebook.fact import Fact, Values
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.yamlfile import KeyPath, fault, raise_faults

Fault = tuple[KeyPath, PydanticCustomError]
# Comparisons of numbers, by their key in files.
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "min": ge,
    "max": le,
    "above": gt,
    "below": lt,
}
# The symbols of a comparison and of its opposite.
_SYMBOLS = {
    "min": (">=", "<"),
    "max": ("<=", ">"),
    "above": (">", "<="),
    "below": ("<", ">="),
    "equals": ("=", "!="),
    "in": ("in", "not in"),
    "contains": ("contains", "lacks"),
}


@dataclass(frozen=True, slots=True)
class FactComparison:
    """One fact against one bound."""

    fact: str
    operator: str
    bound: Any

    def holds(self, values: Values) -> bool | None:
        """True, false, or None where the fact is not known."""
        value = values[self.fact]
        if self.operator == "known":
            return bool((value is not None) == self.bound)
        if value is None:
            return None
        if self.operator in _COMPARISONS:
            return _COMPARISONS[self.operator](float(value), self.bound)  # type: ignore[arg-type]
        if self.operator == "in":
            return bool(value in self.bound)
        if self.operator == "contains":
            return isinstance(value, tuple) and self.bound in value
        return bool(value == self.bound)

    def __str__(self) -> str:
        return self.shown()

    def shown(self, holds: bool = True) -> str:
        """The comparison as text, as in ``memory_gib < 24``; negated if ``holds`` is False."""
        fact = FACTS[self.fact]
        if self.operator == "known":
            return f"{fact.name} {'known' if self.bound is holds else 'unknown'}"
        if fact.kind == "flag" and self.operator == "equals":
            return fact.name if self.bound is holds else f"not {fact.name}"
        is_list = self.operator == "in"
        bounds = ", ".join(map(fact.shown, self.bound if is_list else (self.bound,)))
        symbol = _SYMBOLS[self.operator][not holds]
        return f"{fact.name} {symbol} {f'[{bounds}]' if is_list else bounds}"


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions, joined: ``all``, ``any``, or ``not`` (of exactly one)."""

    kind: str
    parts: tuple[FactComparison | Group, ...]

    def holds(self, values: Values) -> bool | None:
        """True, false, or None where unknown parts could change the result."""
        return self.join(tuple(part.holds(values) for part in self.parts))

    def join(self, results: tuple[bool | None, ...]) -> bool | None:
        """The value of the group, from the values of its parts."""
        if self.kind == "not":
            return None if results[0] is None else not results[0]
        decisive = self.kind == "any"  # one true part decides ``any``, one false part ``all``
        if decisive in results:
            return decisive
        return None if None in results else not decisive

    def __str__(self) -> str:
        if self.kind == "not":
            part = self.parts[0]
            return part.shown(holds=False) if isinstance(part, FactComparison) else f"not ({part})"
        texts = [
            f"({part})" if isinstance(part, Group) and part.kind != "not" else str(part)
            for part in self.parts
        ]
        return (" and " if self.kind == "all" else " or ").join(texts) or "always"


ALWAYS = Group("all", ())


def comparisons(condition: FactComparison | Group) -> Iterator[FactComparison]:
    """Every comparison in a condition, in the order it was written."""
    if isinstance(condition, FactComparison):
        yield condition
        return
    for part in condition.parts:
        yield from comparisons(part)


# What a bound must be, by the kind of its fact.
_BOUND_ADVICE = {"flag": "It must be true or false.", "number": "It must be a number."}


def parse_condition(data: Any) -> FactComparison | Group:
    """A ``when`` as it is written in a file.

    Raises:
        ValidationError: An unknown fact or comparison, or a bound that the fact cannot have.
    """
    problems: list[Fault] = []
    condition = _parsed(data, (), problems)
    raise_faults(problems)
    return condition


def _parsed(data: Any, path: KeyPath, problems: list[Fault]) -> FactComparison | Group:
    if not isinstance(data, Mapping):
        problems.append((path, fault(f"{data!r} is not a mapping", "", "Write {fact: value}.")))
        return ALWAYS
    parts: list[FactComparison | Group] = []
    for key, value in data.items():
        at = (*path, key)
        if key == "not":
            parts.append(Group("not", (_parsed(value, at, problems),)))
        elif key in ("all", "any") and isinstance(value, list) and value:
            inner = (_parsed(part, (*at, number), problems) for number, part in enumerate(value))
            parts.append(Group(key, tuple(inner)))
        elif key in FACTS:
            parts += _comparisons(FACTS[key], value, at, problems)
        elif key in ("all", "any"):
            problems.append((at, fault(f"{key} = {value!r}", "It must be a list of conditions.")))
        else:
            what = f"there is no fact {key!r}"
            problems.append(
                (at, fault(what, "", near_match(str(key), [*FACTS, "all", "any", "not"])))
            )
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


def _comparisons(
    fact: Fact, written: Any, path: KeyPath, problems: list[Fault]
) -> Iterator[FactComparison]:
    """The comparisons with a fact. ``code`` is short for ``{equals: code}``, a list for ``in``.

    A fact with several values has neither, only ``contains``.
    """
    bounds_by_operator = written
    if not isinstance(written, Mapping):
        bounds_by_operator = {"in" if isinstance(written, list) else "equals": written}
    for operator, bound in bounds_by_operator.items():
        at = (*path, operator)
        bounds = bound if operator == "in" and isinstance(bound, list) else [bound]
        if operator not in operators(fact):
            fix = near_match(str(operator), operators(fact))
            what = f"there is no key {operator!r} here"
            if fact.kind == "words" and operator in ("equals", "in"):
                what, fix = f"{fact.name} has several values", "Write {contains: value}."
            problems.append((at, fault(what, "", fix)))
        elif operator == "in" and (bounds is not bound or not bounds):
            problems.append((at, fault(f"in = {bound!r}", "It must be a list.", "Write [a, b].")))
        elif wrong := [bound for bound in bounds if not _comparable(fact, operator, bound)]:
            why = _BOUND_ADVICE.get(_kind(fact, operator), "It must be a text.")
            fix = near_match(str(wrong[0]), fact.words) if fact.words else ""
            problems.append((at, fault(f"{fact.name} is never {wrong[0]!r}", why, fix)))
        else:
            yield FactComparison(fact.name, operator, tuple(bounds) if operator == "in" else bound)


def operators(fact: Fact) -> list[str]:
    """The comparisons that a condition can make with a fact."""
    if fact.kind == "words":  # several words, which are never equal to one
        return ["contains", "known"]
    return ["equals", "in", "known", *(_COMPARISONS if fact.kind == "number" else ())]


def _kind(fact: Fact, operator: str) -> str:
    """The kind of bound that a comparison takes."""
    return "flag" if operator == "known" else fact.kind


def _comparable(fact: Fact, operator: str, bound: Any) -> bool:
    """Whether a fact can be compared with a bound."""
    kind = _kind(fact, operator)
    if isinstance(bound, bool) or kind == "flag":
        return isinstance(bound, bool) and kind == "flag"
    if kind == "number":
        return isinstance(bound, int | float)
    return isinstance(bound, str) and (not fact.words or bound in fact.words)


# The type of a field that holds a condition, and its title in a JSON Schema.
SCHEMA_MARK = "condition of facts"
Condition = Annotated[
    FactComparison | Group, PlainValidator(parse_condition), WithJsonSchema({"title": SCHEMA_MARK})
]
