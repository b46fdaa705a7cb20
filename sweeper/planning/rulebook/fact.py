"""A named fact that rules may use: its type, unit, description and value.

The value of an unknown fact is None. Those of the core are in ``fact_table``, those of a feature in
its ``facts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sweeper.facts.record import Facts, ModelFacts
from sweeper.spec import Spec

Value = bool | int | float | str | tuple[str, ...] | None
Values = Mapping[str, Value]
Kind = Literal["number", "word", "flag", "words"]


class Scene(NamedTuple):
    """The input of facts: the request, the gathered facts, and one of the models."""

    spec: Spec
    facts: Facts
    model: ModelFacts


Compute = Callable[[Scene], Value]


@dataclass(frozen=True, slots=True)
class Fact:
    """One named fact.

    Args:
        name: Name in rules.
        kind: ``number``, ``flag`` (true or false), ``word`` (one of ``words``, if they are
            listed) or ``words`` (several).
        description: What it is, in one line.
        compute: Its value in a scene; None where it is not known.
        unit: Unit of a number; ``%`` for a share, which is a number from 0 to 1.
        chosen: Whether the user sets it.
    """

    name: str
    kind: Kind
    description: str
    compute: Compute
    unit: str = ""
    words: tuple[str, ...] = ()
    chosen: bool = False

    def text(self, value: Value) -> str:
        """A value of the fact, without its unit."""
        if self.unit == "%" and isinstance(value, int | float):
            return f"{100 * value:.3g}%"
        return show(value)

    def shown(self, value: Value) -> str:
        """A value of the fact, with its unit where the name does not say it."""
        bare = value is None or self.unit in ("", "%") or self.unit.casefold() in self.name
        return self.text(value) if bare else f"{self.text(value)} {self.unit}"


def number(
    name: str, unit: str, description: str, compute: Compute, *, chosen: bool = False
) -> Fact:
    """A fact that is a number with a unit."""
    return Fact(name, "number", description, compute, unit, chosen=chosen)


def flag(name: str, description: str, compute: Compute, *, chosen: bool = False) -> Fact:
    """A fact that is true or false."""
    return Fact(name, "flag", description, compute, chosen=chosen)


def word(
    name: str,
    description: str,
    compute: Compute,
    *,
    words: tuple[str, ...] = (),
    chosen: bool = False,
) -> Fact:
    """A fact that is one word, from a fixed list if there is one."""
    return Fact(name, "word", description, compute, words=words, chosen=chosen)


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
