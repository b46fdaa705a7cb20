"""A named fact that rules may use: its type, texts, description and value.

The value of an unknown fact is None. Those of the core are in ``fact_table``, those of a feature in
its ``facts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Fact:
    """One named fact.

    Args:
        name: Name in rules.
        kind: ``number``, ``flag`` (true or false), ``word`` (one of ``words``, if they are
            listed) or ``words`` (several).
        clause: A condition on it in words, with ``{}`` for the bound (``at least 3``) or the word.
        compute: Its value in a scene; None where it is not known.
        detail: How it is computed, where the clause does not say it.
        unit: Unit of a number.
        chosen: Whether the user sets it.
        otherwise: The opposite of the clause, of a flag.
        phrases: How the clause says a word, if not by the word itself.
    """

    name: str
    kind: Kind
    clause: str
    compute: Callable[[Scene], Value]
    detail: str = ""
    unit: str = ""
    words: tuple[str, ...] = ()
    chosen: bool = False
    otherwise: str = ""
    phrases: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def description(self) -> str:
        """What it is and how it is computed."""
        text = self.clause.replace("{}", "N" if self.kind == "number" else "...")
        return f"{text} ({self.detail})" if self.detail else text


Compute = Callable[[Scene], Value]


def number(
    name: str, unit: str, clause: str, compute: Compute, detail: str = "", *, chosen: bool = False
) -> Fact:
    """A fact that is a number with a unit."""
    return Fact(name, "number", clause, compute, detail, unit, chosen=chosen)


def flag(
    name: str, clause: str, compute: Compute, *, otherwise: str = "", chosen: bool = False
) -> Fact:
    """A fact that is true or false."""
    other = otherwise or negated(clause)
    return Fact(name, "flag", clause, compute, chosen=chosen, otherwise=other)


def word(
    name: str,
    clause: str,
    compute: Compute,
    detail: str = "",
    *,
    words: Iterable[str] = (),
    chosen: bool = False,
) -> Fact:
    """A fact that is one word, from a fixed list (or mapping to phrases) if there is one."""
    said = words if isinstance(words, Mapping) else {}
    return Fact(name, "word", clause, compute, detail, words=(*words,), chosen=chosen, phrases=said)


def negated(clause: str) -> str:
    """The opposite of a clause.

    >>> negated("--general is given"), negated("there are 3 rows"), negated("it runs")
    ('--general is not given', 'there are not 3 rows', 'not (it runs)')
    """
    verb = next((word for word in (" is ", " are ") if word in clause), "")
    return clause.replace(verb, f"{verb}not ", 1) if verb else f"not ({clause})"


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
