"""``sweeper explain``: the reasons for a plan, and ``sweeper rules``: the rule book."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import AsJson
from sweeper.safe_text import visible

if TYPE_CHECKING:
    from sweeper.features.explain._answer import Explanation, RuleRow
    from sweeper.planning.rulebook.book import Note
    from sweeper.plans import Plan
    from sweeper.spec import Spec

ORDER = 90
commands = typer.Typer()


@commands.command("explain")
def explain(
    what: Annotated[str, typer.Argument(help="A plan.json, a run, or the id of a rule.")],
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only this strategy.")] = None,
    folders: Annotated[
        list[str] | None,
        typer.Option("--rules", help="A folder of your own rules that the plan was made with."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which rules fired, which nearly did, and which facts would change the plan."""
    from sweeper.errors import RunError, UsageError, near_match
    from sweeper.features.explain._answer import DeclaredParameter, Explanation
    from sweeper.features.explain._counterfactuals import counterfactuals
    from sweeper.features.explain._rules import fired_rules, near_misses
    from sweeper.planning.rulebook.book import rule_book
    from sweeper.planning.rulebook.effects import EVERY
    from sweeper.traits.traits import known_strategies

    rule_ids = [rule.id for rule in rule_book(tuple(folders or ())).rules]
    if what in rule_ids:
        rules(what, folders, facts=False, as_json=as_json)
        return
    if strategy not in (None, *known_strategies()):
        fix = near_match(str(strategy), known_strategies())
        raise UsageError(f"there is no strategy {strategy!r}", fix=fix, where="--strategy")
    try:
        spec, plan = _request_and_plan(what)
    except RunError as error:
        suggestion = near_match(what, rule_ids)
        if not suggestion.startswith("Did"):
            raise
        raise UsageError(f"there is no run and no rule {what!r} here", fix=suggestion) from error
    if folders:
        spec = spec.model_copy(update={"rules": tuple(folders)})
    facts = plan.facts
    explanation = Explanation(
        fired=tuple(
            rule
            for rule in fired_rules(spec, facts)
            if strategy is None or {strategy, EVERY} & {*rule.strategies}
        ),
        near_misses=near_misses(spec, facts),
        counterfactuals=tuple(
            item for item in counterfactuals(spec, facts) if strategy in (None, item.strategy)
        ),
        declared=tuple(
            DeclaredParameter.taken_from(parameter, strategy=candidate.strategy, parameter=name)
            for candidate in plan.candidates
            for name, parameter in candidate.parameters.items()
            if parameter.shipped and strategy in (None, candidate.strategy)
        ),
    )
    if as_json:
        typer.echo(explanation.model_dump_json(indent=2))
    else:
        _print(explanation, plan)


@commands.command("rules")
def rules(
    rule: Annotated[str | None, typer.Argument(help="Show everything about this rule.")] = None,
    folders: Annotated[
        list[str] | None, typer.Option("--rules", help="A folder of your own rules.")
    ] = None,
    facts: Annotated[
        bool, typer.Option("--facts", help="List the facts that conditions can use.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the rules that plans are made from, each with its reason and source.

    Every mistake in your own rules is reported with file and line.
    """
    from sweeper.errors import UsageError, near_match
    from sweeper.features.explain._rules import mark_clashes
    from sweeper.planning.rulebook.book import Rule, rule_book

    book = rule_book(tuple(folders or ()))
    for clash in mark_clashes():
        typer.echo(visible(f"warning: {clash}"), err=True)
    by_id = {book_rule.id: book_rule for book_rule in book.rules}
    if facts:
        _print_facts(as_json)
        return
    if rule is not None and rule not in by_id:
        raise UsageError(f"there is no rule {rule!r}", fix=near_match(rule, by_id))
    chosen = [by_id[rule]] if rule is not None else list(book.rules)
    if as_json:
        rows = [_rule_row(item).model_dump(exclude_none=True) for item in chosen]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rule is not None:
        for key, value in _rule_row(by_id[rule]).model_dump(exclude_none=True).items():
            lines = value if isinstance(value, tuple) else [value]
            typer.echo(visible(f"{key:<8}" + "\n        ".join(str(line) for line in lines)))
    else:
        for item in chosen:
            title = item.title if isinstance(item, Rule) else item.lines({})[0]
            typer.echo(visible(f"{item.id:<34} {title}"))
        typer.echo(f"{len(chosen)} rules and notes; 'sweeper rules ID' shows one in full")


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.explain._answer import Explanation, NamedFact, RuleRow

    return {
        "explain": Explanation | tuple[RuleRow, ...],
        "rules": tuple[RuleRow, ...] | tuple[NamedFact, ...],
    }


def _request_and_plan(what: str) -> tuple[Spec, Plan]:
    """The request and the plan behind a run's name, its folder, or a plan file."""
    from sweeper.features.explain._rules import request_of
    from sweeper.plans import Plan
    from sweeper.runfolder import RunFolder
    from sweeper.specfile import resolve

    path = Path(what)
    if path.is_file():
        plan = Plan.read(path)
        return request_of(plan), plan
    run = RunFolder.find(what)
    return resolve({}, run.spec), Plan.read(run.plan)


def _print(explanation: Explanation, plan: Plan) -> None:
    from rich.console import Group
    from rich.text import Text

    from sweeper.planning.rulebook.fact_table import FACTS
    from sweeper.views.console import sections, show_page, table
    from sweeper.views.plan_view import declared_lines, objective_line

    changes = [
        f"{item.strategy} {item.outcome} if {item.fact} = {item.needed:,.10g} "
        f"(now {FACTS[item.fact].shown(item.actual)})"
        for item in explanation.counterfactuals
    ] or [
        "No other number of examples, memory or model size that was tried puts another strategy "
        "first."
    ]
    epochs = f"{plan.budget.epochs:g} in a full trial of this plan, in place of the rules' defaults"
    objective = [] if plan.objective.is_loss else [objective_line(plan.objective)]
    fired_rows = [
        (
            rule.rule,
            "\n".join(
                [
                    f"if {rule.condition}",
                    *rule.effects,
                    f"{rule.why} ({rule.source})".strip(),
                ]
            ),
        )
        for rule in explanation.fired
    ]
    near_misses = []
    for miss in explanation.near_misses:
        # An unknown value, or True and False, need not be shown: the opposite is missing.
        hidden = miss.value is None or isinstance(miss.value, bool)
        current_value = "" if hidden else f" (now {FACTS[miss.fact].shown(miss.value)})"
        near_misses.append(
            (miss.rule, "\n".join([f"fires if {miss.missing}{current_value}", *miss.effects[:3]]))
        )
    show_page(
        Group(
            sections(
                [
                    (
                        "Decision",
                        [" > ".join(f"{c.strategy} {c.quality}" for c in plan.candidates)],
                    ),
                    ("Epochs", [epochs]),
                    ("Declared", declared_lines(plan)),
                    ("Objective", objective),
                    ("Changes", changes),
                ]
            ),
            Text("\nRules that fired (unknown: neither given nor measured)", style="bold"),
            table(("rule", "condition, effects and reason"), fired_rows),
            Text("\nRules that nearly fired", style="bold"),
            table(("rule", "condition and effects"), near_misses),
        )
    )


def _rule_row(rule: Note) -> RuleRow:
    """Everything about a rule or note, for ``sweeper rules``."""
    from sweeper.features.explain._answer import RuleRow
    from sweeper.planning.rulebook.book import Rule
    from sweeper.planning.rulebook.conditions import comparisons
    from sweeper.planning.rulebook.fact_table import FACTS

    facts_named = {comparison.fact for comparison in comparisons(rule.when)}
    return RuleRow(
        id=rule.id,
        title=rule.title if isinstance(rule, Rule) else None,
        why=rule.why if isinstance(rule, Rule) else None,
        when=str(rule.when),
        then=rule.lines({}),
        source=rule.source,
        where=rule.where,
        facts=tuple(f"{name}: {FACTS[name].description}" for name in FACTS if name in facts_named),
    )


def _print_facts(as_json: bool) -> None:
    from sweeper.features.explain._answer import NamedFact
    from sweeper.planning.rulebook.fact_table import FACTS

    rows = [NamedFact.taken_from(fact) for fact in FACTS.values()]
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=2))
        return
    for row in rows:
        unit = f" in {row.unit}" if row.unit else ""
        typer.echo(f"{row.name:<32} {row.kind}{unit}: {row.description}")
