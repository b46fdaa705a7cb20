"""``sweeper rules``: the rule book, one rule in full, or the facts of conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import AsJson
from sweeper.visible import visible

if TYPE_CHECKING:
    from sweeper.planning.rulebook.rules import Note

ORDER = 120
commands = typer.Typer()


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
    import json

    from sweeper.declared.traits import mark_clashes
    from sweeper.errors import UsageError, near_match
    from sweeper.planning.rulebook.rules import Rule, rule_book

    book = rule_book(tuple(folders or ()))
    for clash in mark_clashes():
        typer.echo(visible(f"warning: {clash}"), err=True)
    by_id = {known.id: known for known in book.rules}
    if facts:
        _facts(as_json)
        return
    if rule is not None and rule not in by_id:
        raise UsageError(f"there is no rule {rule!r}", fix=near_match(rule, by_id))
    chosen = [by_id[rule]] if rule is not None else list(book.rules)
    if as_json:
        rows = [_row(item) for item in chosen]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rule is not None:
        for key, value in _row(by_id[rule]).items():
            lines = value if isinstance(value, list) else [value]
            typer.echo(visible(f"{key:<8}" + "\n        ".join(str(line) for line in lines)))
    else:
        for item in chosen:
            title = item.title if isinstance(item, Rule) else item.lines({})[0]
            typer.echo(visible(f"{item.id:<34} {title}"))
        typer.echo(f"{len(chosen)} rules and notes; 'sweeper rules ID' shows one in full")


def _row(rule: Note) -> dict[str, object]:
    from sweeper.planning.rulebook.conditions import comparisons
    from sweeper.planning.rulebook.fact_table import FACTS
    from sweeper.planning.rulebook.rules import Rule

    named = {test.fact for test in comparisons(rule.when)}
    told = {"title": rule.title, "why": rule.why} if isinstance(rule, Rule) else {}
    return {
        "id": rule.id,
        **told,
        "when": str(rule.when),
        "then": list(rule.lines({})),
        "source": rule.source,
        "where": rule.where,
        "facts": [f"{name}: {FACTS[name].description}" for name in FACTS if name in named],
    }


def _facts(as_json: bool) -> None:
    import json

    from sweeper.planning.rulebook.fact_table import FACTS

    rows = [
        {"name": fact.name, "kind": fact.kind, "unit": fact.unit, "description": fact.description}
        for fact in FACTS.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        unit = f" in {row['unit']}" if row["unit"] else ""
        typer.echo(f"{row['name']:<32} {row['kind']}{unit}: {row['description']}")
