"""Why these choices, and how far to trust them."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.record import RuleFinding
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Empty,
    Note,
    Notes,
    Row,
    Section,
    Table,
    Text,
)
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section


@section(120)
def rules_section(report: Report) -> Section:
    """Every rule that shaped the plan, with the evidence of this study."""
    rules = report.findings.rules
    if not rules:
        empty = Empty("no-rules", "No rule of the rule book applied to this plan.")
        return Section("rules", "Rules", "Why these choices?", (empty,))
    counts = {word: sum(rule.verdict == word for rule in rules) for word in _VERDICTS}
    told = words.joined([f"{count} {word}" for word, count in counts.items()])
    blocks: tuple[Block, ...] = (
        Text((f"{words.plural(len(rules), 'rule')} shaped this plan. By its trials: {told}.",)),
        _table(rules),
    )
    return Section("rules", "Rules", "Why these choices?", blocks)


_VERDICTS = ("held", "contradicted", "untested")


def _table(rules: tuple[RuleFinding, ...]) -> Table:
    ordered = sorted(enumerate(rules), key=lambda entry: _VERDICTS.index(entry[1].verdict))
    return Table(
        id="rule-table",
        caption="Rules, and whether these trials support them",
        columns=(
            Column("rule", pointer="/rule"),
            Column("here", pointer="/verdict"),
            Column("what it says and why"),
            Column("what it set", pointer="/effect"),
            Column("evidence here", pointer="/evidence"),
            Column("source", pointer="/source"),
        ),
        rows=tuple(
            Row(
                cells=(
                    Cell(rule.rule),
                    Cell(rule.verdict, css="v-" + rule.verdict),
                    Cell(f"{rule.title}. {rule.why}"),
                    Cell(rule.effect or words.DASH),
                    Cell(rule.evidence or words.DASH),
                    Cell(rule.source),
                ),
                pointer=f"/findings/rules/{i}",
            )
            for i, rule in ordered
        ),
    )


@section(130)
def limits_section(report: Report) -> Section:
    """The limits of the verdict, in numbers, and how to remove them."""
    limits = report.findings.limits
    block: Block
    if limits:
        block = Notes(tuple(Note(f"limit-{x.id}", x.text, x.action) for x in limits))
    else:
        block = Empty("no-limits", "None of the limits that sweeper checks for applies here.")
    return Section("limits", "Limits", "How far to trust it?", (block,))
