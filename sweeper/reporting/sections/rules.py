"""Why these choices, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.findings.evidence.rules import rules_told
from sweeper.findings.record import RuleFinding
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Empty,
    Notes,
    Table,
    Text,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section


@section(120, "rules", "Rules", "Why these choices?")
def rules_section(report: Report) -> Iterator[Block]:
    """Every rule that shaped the plan, with the evidence of this study."""
    rules = report.findings.rules
    if not rules:
        yield Empty("no-rules", "No rule of the rule book applied to this plan.")
        return
    told = f"{units.plural(len(rules), 'rule')} shaped this plan: {rules_told(rules)}."
    yield Text((told, _HOW))
    yield _table(rules)


_VERDICTS = ("contradicted", "held", "untested")
_HOW = (
    "A number such as lora: +2 is what a rule adds to the score by which the plan ranks "
    "strategies. A rule that gives values to a parameter held if other values clearly raise the "
    "final loss, and is contradicted if they clearly lower it, all other parameters of the "
    "strategy being equal. For a pruned trial, the final loss is predicted from its last rung. "
    "sweeper run --test-rules 1 spends a trial on the rule that matters most; 'trials' in "
    "sweep.yaml names trials of your own."
)


def _table(rules: tuple[RuleFinding, ...]) -> Table:
    columns: list[Column[RuleFinding]] = [
        Column("rule", lambda rule: rule.rule, "/rule"),
        Column("here", lambda rule: Cell(rule.verdict, css="v-" + rule.verdict), "/verdict"),
        Column("what it says and why", lambda rule: f"{rule.title}. {rule.why}"),
        Column("what it set", lambda rule: rule.effect or words.DASH, "/effect"),
        Column("evidence here", _evidence, "/evidence"),
        Column("source", lambda rule: rule.source, "/source"),
    ]
    ordered = sorted(placed(rules, "/findings/rules"), key=lambda row: _place(row[1]))
    caption = "Rules, and whether these trials support them"
    return Table.of("rule-table", caption, columns, ordered)


def _place(rule: RuleFinding) -> tuple[int, bool]:
    """Decided rules first, then those that were compared."""
    return _VERDICTS.index(rule.verdict), not (rule.evidence and rule.would_test)


def _evidence(rule: RuleFinding) -> str:
    would = f"Would test it: {rule.would_test}" if rule.would_test else ""
    return " ".join(filter(None, (rule.evidence, would))) or words.DASH


@section(130, "limits", "Limits", "How far to trust it?")
def limits_section(report: Report) -> Iterator[Block]:
    """The limits of the verdict, in numbers, and how to remove them."""
    if report.findings.limits:
        yield Notes(report.findings.limits)
    else:
        yield Empty("no-limits", "None of the limits that sweeper checks for applies here.")
