"""Why this plan? The rules that shaped it, with reasons and sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    """A rule with the strategy that it changed; without one for a caution or warning."""

    reason: Reason
    strategy: StrategyOnModel = NO_STRATEGY

    @property
    def text(self) -> str:
        return ". ".join(filter(None, (self.reason.title, self.reason.why)))

    @property
    def effect(self) -> str:
        """What the rule did, in words; empty if it changed nothing.

        A rule sets the quality expected of a strategy (``gap``, against LoRA) or ranges of
        parameters. It may disagree with an earlier rule, or not be applied since the user's own
        strategy file sets the parameters.
        """
        reason = self.reason
        if reason.disagrees_with:
            effect = f"disagrees with {reason.disagrees_with}"
        elif not reason.applied:
            effect = f"not applied to {units.joined([*reason.changes])}"
        else:
            texts = [f"quality {reason.gap}"] if reason.gap else []
            effect = "; ".join([*texts, *(f"{name} {to}" for name, to in reason.changes.items())])
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
    rules = [
        (pointer, _ListedRule(reason, strategy.strategy))
        for parent, strategy in with_json_pointers(plan.strategies, "/plan/strategies")
        for pointer, reason in with_json_pointers(strategy.reasons, f"{parent}/reasons")
    ]
    for parent, strategy in with_json_pointers(plan.strategies, "/plan/strategies"):
        rules += [
            (p, _ListedRule(r))
            for p, r in with_json_pointers(strategy.cautions, f"{parent}/cautions")
        ]
    rules += [(p, _ListedRule(r)) for p, r in with_json_pointers(plan.warnings, "/plan/warnings")]
    first_rules: dict[str, tuple[str, _ListedRule]] = {}
    for pointer, rule in rules:
        if rule.reason.rule != DECLARED:  # which is the user's choice, no rule
            first_rules.setdefault(rule.reason.rule, (pointer, rule))
    return list(first_rules.values())
