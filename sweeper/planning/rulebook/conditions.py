"""The ``when`` of a rule: comparisons and memberships over named facts, joined by all, any, not.

A condition is data, never code. A fact that is not known makes a comparison unknown, and a rule
fires only where its condition is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import ge, gt, le, lt
from typing import Annotated, Any, ForwardRef, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    TypeAdapter,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from sweeper.planning.rulebook.fact import Fact, Values
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.yaml_models import FileModel

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "min": ge,
    "max": le,
    "above": gt,
    "below": lt,
}
# How a comparison is shown, and its opposite.
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
        """The comparison as text, or its opposite, as in ``memory_gib < 24``."""
        fact = FACTS[self.fact]
        if self.operator == "known":
            return f"{fact.name} {'known' if self.bound is holds else 'unknown'}"
        if fact.kind == "flag" and self.operator == "equals":
            return fact.name if self.bound is holds else f"not {fact.name}"
        several = self.operator == "in"
        bounds = ", ".join(fact.shown(one) for one in (self.bound if several else (self.bound,)))
        symbol = _SYMBOLS[self.operator][not holds]
        return f"{fact.name} {symbol} {f'[{bounds}]' if several else bounds}"


@dataclass(frozen=True, slots=True)
class Group:
    """Several conditions, joined: ``all``, ``any``, or ``not`` (of exactly one)."""

    kind: str
    parts: tuple[FactComparison | Group, ...]

    def holds(self, values: Values) -> bool | None:
        """True, false, or None where unknown parts could change the result."""
        decisive = None if self.kind == "not" else self.kind == "any"
        results: list[bool | None] = []
        for part in self.parts:
            results.append(part.holds(values))
            if decisive is not None and results[-1] is decisive:
                return decisive  # whatever the others are
        return self.join(tuple(results))

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
            part = self.parts[0]
            return part.shown(holds=False) if isinstance(part, FactComparison) else f"not ({part})"
        compound = [isinstance(part, Group) and part.kind != "not" for part in self.parts]
        texts = [
            f"({part})" if several else str(part)
            for part, several in zip(self.parts, compound, strict=True)
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


def _spelled_out(value: Any) -> Any:
    """``task: code`` means ``{equals: code}``, and ``task: [code, domain]`` ``{in: ...}``."""
    if isinstance(value, Mapping):
        return value
    return {"in" if isinstance(value, list) else "equals": value}


@dataclass(frozen=True)
class _Written:
    """A value that files write in another form than models hold it.

    Pydantic's validators take such a form, too, and make its schema for every field that has it.
    Here it is made where a JSON Schema is asked for.

    Args:
        read: Makes the value from the written form.
        written: Makes the type of the written form.
        then: Whether the value is checked against the field's own type.
    """

    read: Callable[[Any], Any]
    written: Callable[[], Any]
    then: bool

    @property
    def json_schema_input_type(self) -> Any:
        return self.written()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        if self.then:
            return core_schema.no_info_before_validator_function(self.read, handler(source))
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(TypeAdapter(self.json_schema_input_type).core_schema)


@cache
def _test(kind: str, words: tuple[str, ...]) -> Any:
    """The comparisons that a fact of this kind allows, with the type of their bounds."""
    one: Any = Literal[words] if words else str
    one = {"flag": bool, "number": float}.get(kind, one)
    several = Annotated[tuple[one, ...], Strict(strict=False), Field(min_length=1)]
    fields: dict[str, Any] = {
        "equals": (one, None),
        "in_": (several, Field(None, alias="in", examples=[["a", "b"]])),
        "known": (bool, None),
    }
    if kind == "number":
        fields |= dict.fromkeys(_COMPARISONS, (float, None))
    if kind == "words":
        fields["contains"] = (one, None)
    test = create_model(f"When_{kind}", __base__=FileModel, **fields)
    return Annotated[test, _Written(_spelled_out, lambda: one | several | test, then=True)]


def _field(fact: Fact) -> tuple[Any, Any]:
    unit = f" ({fact.unit})" if fact.unit else ""
    return _test(fact.kind, fact.words), Field(None, description=f"{fact.description}{unit}")


@cache
def written_condition() -> type[FileModel]:
    """A ``when`` as files write it: for its mistakes and its JSON Schema."""
    when: Any = ForwardRef("When")
    several = Annotated[tuple[when, ...], Strict(strict=False), Field(min_length=1)]
    fields: dict[str, Any] = {
        **{name: _field(fact) for name, fact in FACTS.items()},
        "all": (several, None),
        "any": (several, None),
        "not_": (when, Field(None, alias="not")),
    }
    return create_model("When", __base__=FileModel, **fields)


def parse_condition(data: Any) -> FactComparison | Group:
    """A ``when`` as it is written in a file.

    Raises:
        ValidationError: An unknown fact or comparison, or a bound that the fact cannot have.
    """
    if not _is_condition(data):  # a quick look, since rules have hundreds; the model says what
        written_condition().model_validate(data)
    return _group(data)


def _is_condition(data: Any) -> bool:
    """Whether the written condition holds no mistake."""
    if not isinstance(data, Mapping):
        return False
    for key, value in data.items():
        if key == "not":
            right = _is_condition(value)
        elif key in ("all", "any"):
            right = isinstance(value, list) and bool(value) and all(map(_is_condition, value))
        else:
            fact = FACTS.get(key)
            tests = _spelled_out(value).items()
            right = fact is not None and all(_can_be(fact, test, bound) for test, bound in tests)
        if not right:
            return False
    return True


def _can_be(fact: Fact, operator: str, bound: Any) -> bool:
    """Whether a fact allows a comparison with a bound."""
    if operator == "known":
        return isinstance(bound, bool)
    if operator == "in":
        return isinstance(bound, list) and bool(bound) and all(_bounds(fact, one) for one in bound)
    kind = "number" if operator in _COMPARISONS else {"contains": "words"}.get(operator)
    return _bounds(fact, bound) and (operator == "equals" or fact.kind == kind)


def _bounds(fact: Fact, bound: Any) -> bool:
    if isinstance(bound, bool) or fact.kind == "flag":
        return isinstance(bound, bool) and fact.kind == "flag"
    if fact.kind == "number":
        return isinstance(bound, int | float)
    return isinstance(bound, str) and (not fact.words or bound in fact.words)


def _group(data: Mapping[str, Any]) -> FactComparison | Group:
    parts: list[FactComparison | Group] = []
    for key, value in data.items():
        if key == "not":
            parts.append(Group("not", (_group(value),)))
        elif key in ("all", "any"):
            parts.append(Group(key, tuple(_group(item) for item in value)))
        else:
            for operator, bound in _spelled_out(value).items():
                parts.append(
                    FactComparison(key, operator, tuple(bound) if operator == "in" else bound)
                )
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


# The type of a field that holds a condition.
Condition = Annotated[
    FactComparison | Group, _Written(parse_condition, written_condition, then=False)
]
