"""The records that ``sweeper explain`` and ``sweeper rules`` print with ``--json``."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.features.explain._counterfactuals import Counterfactual
from sweeper.features.explain._rules import ExplainedRule
from sweeper.plans import ParameterRange


class DeclaredParameter(ParameterRange):
    """A parameter whose range the user declared.

    Args:
        shipped: The rule book's range, which the declaration replaces.
    """

    strategy: str
    parameter: str
    log: bool
    step: float | None
    source: str
    shipped: str


class Explanation(Record):
    """The reasons for a plan."""

    fired: tuple[ExplainedRule, ...]
    near_misses: tuple[ExplainedRule, ...]
    counterfactuals: tuple[Counterfactual, ...]
    declared: tuple[DeclaredParameter, ...]


class RuleRow(Record):
    """A rule, or a note: warnings, advice or answers, without a title and a reason.

    Args:
        then: Its effects and texts, one line each.
        where: File and line.
        facts: Facts in its condition, with their descriptions.
    """

    id: str
    title: str | None = None
    why: str | None = None
    when: str
    then: tuple[str, ...]
    source: str
    where: str
    facts: tuple[str, ...]


class NamedFact(Record):
    """A fact that conditions can use.

    Args:
        kind: Type of its value: ``number``, ``flag``, ``word`` or ``words``.
    """

    name: str
    kind: str
    unit: str
    description: str
