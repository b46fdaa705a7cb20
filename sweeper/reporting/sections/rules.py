"""Why this plan? The rules that shaped it, with reasons and sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.plans import DECLARED, Reason
from sweeper.reporting.blocks import Block, Column, Table, with_json_pointers
from sweeper.reporting.document import PlanExcerpt, Report
from sweeper.reporting.sections._plan import declared_table
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel

HEADING = Heading(150, "rules", "Reasons of the plan")


@dataclass(frozen=True)
class _ListedRule:
    """A row of the table: a rule, and the strategy that it changed; none for a caution or warning.

    Args:
        overruled: Earlier rules with which it disagrees for some strategy, as keys.
    """

    reason: Reason
    strategy: StrategyOnModel = NO_STRATEGY
    overruled: dict[str, None] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return ". ".join(filter(None, (self.reason.title, self.reason.why)))

    @property
    def effect(self) -> str:
        """What the rule did, in words; empty if it changed nothing.

        It set the quality expected of the strategy (``gap``, against LoRA) or ranges of parameters,
        or was not applied because the user's own strategy file sets the parameters.
        """
        reason = self.reason
        texts = [f"quality {reason.gap}"] if reason.gap else []
        if reason.applied:
            texts += [f"{name} {to}" for name, to in reason.changes.items()]
        else:
            texts.append(f"not applied to {units.joined([*reason.changes])}")
        texts += [f"disagrees with {units.joined([*self.overruled])}"] if self.overruled else []
        effect = "; ".join(texts)
        return f"{words.short(self.strategy)}: {effect}" if self.strategy and effect else effect


def finding(figures: None, report: Report) -> str:
    """The number of rules."""
    rules = len(_listed_rules(report.plan))
    return f"{units.plural(rules, 'rule')} shaped this plan." if rules else ""


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """Every rule that shaped the plan, with its effect, reason and source."""
    columns: list[Column[_ListedRule]] = [
        Column("rule", lambda rule: rule.reason.rule, "/rule"),
        Column("what it says and why", lambda rule: rule.text),
        Column("what it set", lambda rule: rule.effect or words.DASH),
        Column("source", lambda rule: rule.reason.source, "/source"),
    ]
    rules = _listed_rules(report.plan)
    yield Table.of("rule-table", "Rules of this plan", columns, rules, note=_NOTE)
    if report.findings.trials:  # otherwise the verdict section has this table
        yield from declared_table(report)


_NOTE = (
    "A quality such as +0.1 ± 0.2 is what a rule expects of a strategy, in points against LoRA on "
    "the same model; the plan pools those of all rules that apply."
)


def _listed_rules(plan: PlanExcerpt) -> list[tuple[str, _ListedRule]]:
    """The first entry of each rule, with its JSON pointer: reasons, then cautions, then warnings.

    A rule that changed several strategies is listed with the first one.
    """
    candidates = [*with_json_pointers(plan.strategies, "/plan/strategies")]
    entries = [
        (pointer, _ListedRule(reason, candidate.strategy))
        for parent, candidate in candidates
        for pointer, reason in with_json_pointers(candidate.reasons, f"{parent}/reasons")
    ]
    for parent, candidate in candidates:
        cautions = with_json_pointers(candidate.cautions, f"{parent}/cautions")
        entries += [(pointer, _ListedRule(caution)) for pointer, caution in cautions]
    warnings = with_json_pointers(plan.warnings, "/plan/warnings")
    entries += [(pointer, _ListedRule(warning)) for pointer, warning in warnings]
    rules: dict[str, tuple[str, _ListedRule]] = {}
    for pointer, rule in entries:
        if rule.reason.rule != DECLARED:  # the user's choice, no rule
            _, first = rules.setdefault(rule.reason.rule, (pointer, rule))
            if rule.reason.disagrees_with:
                first.overruled[rule.reason.disagrees_with] = None
    return list(rules.values())
