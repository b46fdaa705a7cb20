"""A named fact that rules may use: a function of the request, the gathered facts and a model.

The value of an unknown fact is None. Facts of the core are in ``fact_table``, facts of a feature in
its ``facts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sweeper.facts.record import DataFacts, Facts, ModelFacts
from sweeper.spec import Spec

Value = bool | int | float | str | tuple[str, ...] | None
Values = Mapping[str, Value]
Kind = Literal["number", "word", "flag", "words"]


class FactInput(NamedTuple):
    """What a fact is computed from: the request, the gathered facts, and one of the models."""

    spec: Spec
    facts: Facts
    model: ModelFacts

    @property
    def data(self) -> DataFacts:
        return self.facts.data


Compute = Callable[[FactInput], Value]


@dataclass(frozen=True, slots=True)
class Fact:
    """One named fact.

    Args:
        name: Name in rules.
        kind: ``number``, ``flag`` (true or false), ``word`` (one of ``words``, if they are
            listed) or ``words`` (several).
        description: What it is, in one line.
        compute: Its value for an input; None where it is not known.
        unit: Unit of a number; ``%`` for a share, which is a number from 0 to 1.
        words: All words that it can be; empty if they are not listed.
        set_by_user: Whether the user can set it.
    """

    name: str
    kind: Kind
    description: str
    compute: Compute
    unit: str = ""
    words: tuple[str, ...] = ()
    set_by_user: bool = False

    def text(self, value: Value) -> str:
        """A value of the fact, without its unit."""
        if self.unit == "%" and isinstance(value, int | float):
            return f"{100 * value:.3g}%"
        return show(value)

    def shown(self, value: Value) -> str:
        """A value of the fact, with its unit where the name does not say it."""
        bare = value is None or self.unit in ("", "%") or self.unit.casefold() in self.name
        return self.text(value) if bare else f"{self.text(value)} {self.unit}"


def number(unit: str = "", *, set_by_user: bool = False) -> Callable[[Compute], Fact]:
    """A decorator that makes a function a fact that is a number with a unit."""
    return lambda compute: _fact(compute, "number", unit=unit, set_by_user=set_by_user)


def flag(*, set_by_user: bool = False) -> Callable[[Compute], Fact]:
    """A decorator that makes a function a fact that is true or false."""
    return lambda compute: _fact(compute, "flag", set_by_user=set_by_user)


def word(
    words: tuple[str, ...] = (), *, several: bool = False, set_by_user: bool = False
) -> Callable[[Compute], Fact]:
    """A decorator that makes a function a fact that is one word, or several."""
    kind: Kind = "words" if several else "word"
    return lambda compute: _fact(compute, kind, words=words, set_by_user=set_by_user)


def _fact(compute: Compute, kind: Kind, **fields: Any) -> Fact:
    """The fact with the function's name, described by the first line of its docstring."""
    description, *_ = str(compute.__doc__).split("\n")
    return Fact(compute.__name__, kind, description.rstrip("."), compute, **fields)


def show(value: Value) -> str:
    """A fact's value as texts print it.

    >>> show(12000), show(0.25), show(True), show(None), show(("lora", "full"))
    ('12,000', '0.25', 'yes', 'unknown', 'lora, full')
    """
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
