"""The ``when`` of a rule: comparisons and memberships over named facts, joined by all, any, not.

A condition is data, never code. A fact that is not known makes a comparison unknown, and a rule
fires only where its condition is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.named_facts import Fact, Value, Values, show
from sweeper.yamlfile import Document, Path_

_COMPARISONS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "min": ("at least", lambda value, bound: value >= bound),
    "max": ("at most", lambda value, bound: value <= bound),
    "above": ("above", lambda value, bound: value > bound),
    "below": ("below", lambda value, bound: value < bound),
}
OPERATORS = (*_COMPARISONS, "equals", "in", "contains", "known")


@dataclass(frozen=True, slots=True)
class Comparison:
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
            return _COMPARISONS[self.operator][1](float(value), self.bound)  # type: ignore[arg-type]
        if self.operator == "in":
            return bool(value in self.bound)
        if self.operator == "contains":
            return isinstance(value, tuple) and self.bound in value
        return bool(value == self.bound)

    def __str__(self) -> str:
        if self.operator == "known":
            return f"{self.fact} is {'known' if self.bound else 'not known'}"
        if self.operator in _COMPARISONS:
            unit = FACTS[self.fact].unit
            text = f"{self.fact} {_COMPARISONS[self.operator][0]} {show(self.bound)}"
            return f"{text} {unit}".rstrip() if unit not in ("", "1e9") else text
        if self.operator == "in":
            return f"{self.fact} is {' or '.join(show(item) for item in self.bound)}"
        if self.operator == "contains":
            return f"{self.fact} has {self.bound}"
        return f"{self.fact} is {show(self.bound)}"


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions, joined: ``all``, ``any``, or ``not`` (of exactly one)."""

    kind: str
    parts: tuple[Comparison | Group, ...]

    def holds(self, values: Values) -> bool | None:
        """Three-valued: an unknown part decides nothing that the known parts do not decide."""
        return self.join(tuple(part.holds(values) for part in self.parts))

    def join(self, results: tuple[bool | None, ...]) -> bool | None:
        """The group's value from those of its parts."""
        if self.kind == "not":
            return None if results[0] is None else not results[0]
        decisive = self.kind == "any"
        if decisive in results:
            return decisive
        return None if None in results else not decisive

    def __str__(self) -> str:
        if self.kind == "not":
            return f"not ({self.parts[0]})"
        joint = " and " if self.kind == "all" else " or "
        texts = [f"({part})" if isinstance(part, Group) else str(part) for part in self.parts]
        return joint.join(texts) or "always"


Condition = Comparison | Group
ALWAYS = Group("all", ())


def comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison in a condition, in the order it was written."""
    if isinstance(condition, Comparison):
        yield condition
        return
    for part in condition.parts:
        yield from comparisons(part)


def parse_condition(
    data: Any, document: Document, path: Path_, problems: list[Problem]
) -> Condition:
    """Read a ``when``: a mapping whose entries must all hold.

    Problems (unknown facts and operators, bounds that a fact cannot have) are appended with file
    and line; what is wrong is left out of the result.
    """
    if data is None:
        return ALWAYS
    if not isinstance(data, Mapping):
        problems.append(
            Problem(
                f"when = {data!r} is not a mapping",
                fix="Write facts and bounds, such as 'examples: {min: 1000}'.",
                where=document.where(path),
            )
        )
        return ALWAYS
    parts: list[Condition] = []
    for key, value in data.items():
        parts += _entry(str(key), value, document, (*path, key), problems)
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


def _entry(
    key: str, value: Any, document: Document, path: Path_, problems: list[Problem]
) -> list[Condition]:
    if key in ("all", "any"):
        items = value if isinstance(value, list) else [value]
        parts = [
            parse_condition(item, document, (*path, index), problems)
            for index, item in enumerate(items)
        ]
        return [Group(key, tuple(parts))]
    if key == "not":
        return [Group("not", (parse_condition(value, document, path, problems),))]
    fact = FACTS.get(key)
    if fact is None:
        problems.append(
            Problem(
                f"there is no fact {key!r}",
                fix=near_match(key, [*FACTS, "all", "any", "not"]),
                where=document.where(path),
            )
        )
        return []
    return _comparisons(fact, value, document, path, problems)


def _comparisons(
    fact: Fact, value: Any, document: Document, path: Path_, problems: list[Problem]
) -> list[Condition]:
    if isinstance(value, list):
        value = {"in": value}
    elif not isinstance(value, Mapping):
        value = {"equals": value}
    found: list[Condition] = []
    for operator, bound in value.items():
        trouble = _trouble(fact, str(operator), bound)
        if trouble:
            what, why, fix = trouble
            where = document.where((*path, operator))
            problems.append(Problem(what, why, fix, where))
            continue
        found.append(Comparison(fact.name, operator, tuple(bound) if operator == "in" else bound))
    return found


def _trouble(fact: Fact, operator: str, bound: Any) -> tuple[str, str, str] | None:
    """What is wrong with one comparison: what, why, fix."""
    if operator not in OPERATORS:
        return f"there is no comparison {operator!r}", "", near_match(operator, OPERATORS)
    if operator == "known":
        return None if isinstance(bound, bool) else (f"known = {bound!r}", "", "true or false.")
    if operator in _COMPARISONS:
        if fact.kind != "number":
            why = f"{fact.name} is a {fact.kind}, not a number."
            return f"{operator} cannot be asked of {fact.name}", why, "Use equals or in."
        number = isinstance(bound, int | float) and not isinstance(bound, bool)
        return None if number else (f"{operator} = {bound!r} is not a number", "", "")
    if operator == "in" and not isinstance(bound, list):
        return f"in = {bound!r} is not a list", "", "Write [a, b]."
    for item in bound if operator == "in" else [bound]:
        if not _possible(fact, item):
            what = f"{fact.name} is never {item!r}"
            fix = near_match(str(item), fact.words) if fact.words else ""
            return what, f"It is a {fact.kind}.", fix
    return None


def _possible(fact: Fact, item: Value) -> bool:
    if fact.kind == "flag":
        return isinstance(item, bool)
    if fact.kind == "number":
        return isinstance(item, int | float) and not isinstance(item, bool)
    return isinstance(item, str) and (not fact.words or item in fact.words)
