"""``sweeper explain``: the reasons for a plan, and what would change it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import AsJson

if TYPE_CHECKING:
    from sweeper.plans import Parameter, Plan
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
    from sweeper.declared.yaml_files import known_strategies
    from sweeper.errors import RunError, UsageError, near_match
    from sweeper.planning.counterfactuals import counterfactuals
    from sweeper.planning.rulebook.effects import EVERY
    from sweeper.planning.rulebook.explanations import fired_rules, near_misses
    from sweeper.planning.rulebook.rules import rule_book

    known = [rule.id for rule in rule_book(tuple(folders or ())).rules]
    if what in known:
        from sweeper.cli.commands.rules import rules

        rules(what, folders, facts=False, as_json=as_json)
        return
    if strategy not in (None, *known_strategies()):
        fix = near_match(str(strategy), known_strategies())
        raise UsageError(f"there is no strategy {strategy!r}", fix=fix, where="--strategy")
    try:
        spec, plan = _request(what)
    except RunError as error:
        near = near_match(what, known)
        if not near.startswith("Did"):
            raise
        raise UsageError(f"there is no run and no rule {what!r} here", fix=near) from error
    if folders:
        spec = spec.model_copy(update={"rules": tuple(folders)})
    facts = plan.facts
    parts: dict[str, Any] = {
        "fired": [dataclasses.asdict(rule) for rule in fired_rules(spec, facts)],
        "near_misses": [dataclasses.asdict(miss) for miss in near_misses(spec, facts)],
        "counterfactuals": [
            dataclasses.asdict(item)
            for item in counterfactuals(spec, facts)
            if strategy in (None, item.strategy)
        ],
    }
    if strategy is not None:
        parts["fired"] = [r for r in parts["fired"] if {strategy, EVERY} & {*r["strategies"]}]
    if as_json:
        parts["declared"] = [
            {"strategy": one.strategy, "parameter": name, **_declared(parameter)}
            for one in plan.candidates
            for name, parameter in one.parameters.items()
            if parameter.shipped and strategy in (None, one.strategy)
        ]
        typer.echo(json.dumps(parts, indent=2, ensure_ascii=False))
    else:
        _print(parts, plan)


def _request(what: str) -> tuple[Spec, Plan]:
    """The request and the plan behind a run's name, its folder, or a plan file."""
    from sweeper.planning.rulebook.explanations import request_of
    from sweeper.plans import Plan
    from sweeper.runfolder import RunFolder
    from sweeper.specfile import resolve

    path = Path(what)
    if path.is_file():
        plan = Plan.read(path)
        return request_of(plan), plan
    run = RunFolder.find(what)
    return resolve({}, run.spec), Plan.read(run.plan)


def _declared(parameter: Parameter) -> dict[str, Any]:
    names = {"low", "high", "log", "step", "choices", "default", "source", "shipped"}
    return parameter.model_dump(mode="json", include=names, exclude_none=True)


def _print(parts: dict[str, Any], plan: Plan) -> None:
    from rich.markup import escape

    from sweeper.planning.rulebook.fact_table import FACTS
    from sweeper.views.console import out
    from sweeper.views.plan_view import declared_lines, objective_line, threshold_line

    console = out()
    order = " > ".join(f"{c.strategy} {c.score:+.3g}" for c in plan.candidates)
    console.print(f"[bold]Decision[/bold] {escape(order)}")
    text = f"{plan.budget.epochs:g} in a full trial of this plan, in place of the rules' defaults"
    console.print(f"[bold]Epochs[/bold] {text}")
    if lines := declared_lines(plan):
        console.print("\n[bold]Declared[/bold] by you; the search stays within these")
    for line in lines:
        console.print(f"  {escape(line)}")
    if not plan.objective.is_loss:
        console.print(f"\n[bold]Objective[/bold] {escape(objective_line(plan.objective))}")
    console.print("\n[bold]What would change it[/bold]")
    if line := threshold_line(plan):
        console.print(f"  {escape(line)}")
    for item in parts["counterfactuals"]:
        now = FACTS[item["fact"]].shown(item["actual"])
        change = f"{item['fact']} = {item['needed']:,.10g} (now {now})"
        console.print(f"  {item['strategy']} {item['outcome']} where {escape(change)}")
    if not parts["counterfactuals"]:
        console.print(
            "  No other strategy would rank first: other numbers of examples, memory and model "
            "sizes were tried."
        )
    console.print("\n[bold]Rules that fired[/bold] (unknown: neither given nor measured)")
    for rule in parts["fired"]:
        console.print(f"  [bold]{rule['rule']}[/bold] where {escape(rule['condition'])}")
        for effect in rule["effects"]:
            console.print(f"      {escape(effect)}")
        why = f"{rule['why']} ({rule['source']})".strip()
        console.print(f"      {escape(why)}", style="dim")
    console.print("\n[bold]Rules that nearly fired[/bold]")
    for miss in parts["near_misses"]:
        value = miss["value"]
        told = value is None or isinstance(value, bool)  # by the condition
        now = "" if told else f" (now {FACTS[miss['fact']].shown(value)})"
        condition = escape(f"{miss['missing']}{now}")
        console.print(f"  [bold]{miss['rule']}[/bold] fires if {condition}")
        for effect in miss["effects"][:3]:
            console.print(f"      {escape(effect)}", style="dim")
