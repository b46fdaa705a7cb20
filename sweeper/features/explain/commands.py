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
    from sweeper.features.explain._counterfactuals import counterfactuals
    from sweeper.features.explain._rules import fired_rules, near_misses
    from sweeper.planning.rulebook.effects import EVERY
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


def _declared(parameter: Parameter) -> dict[str, Any]:
    names = {"low", "high", "log", "step", "choices", "default", "source", "shipped"}
    return parameter.model_dump(mode="json", include=names, exclude_none=True)


def _print(parts: dict[str, Any], plan: Plan) -> None:
    from rich.console import Group
    from rich.text import Text

    from sweeper.planning.rulebook.fact_table import FACTS
    from sweeper.views.console import sections, show_page, table
    from sweeper.views.plan_view import declared_lines, objective_line

    changes = [
        f"{item['strategy']} {item['outcome']} where {item['fact']} = {item['needed']:,.10g} "
        f"(now {FACTS[item['fact']].shown(item['actual'])})"
        for item in parts["counterfactuals"]
    ] or [
        "No other strategy would rank first: other numbers of examples, memory and model sizes "
        "were tried."
    ]
    epochs = f"{plan.budget.epochs:g} in a full trial of this plan, in place of the rules' defaults"
    objective = [] if plan.objective.is_loss else [objective_line(plan.objective)]
    fired = []
    for one in parts["fired"]:
        why = f"{one['why']} ({one['source']})".strip()
        fired.append((one["rule"], "\n".join([f"where {one['condition']}", *one["effects"], why])))
    nearly = []
    for miss in parts["near_misses"]:
        value = miss["value"]
        told = value is None or isinstance(value, bool)  # by the condition
        now = "" if told else f" (now {FACTS[miss['fact']].shown(value)})"
        lines = [f"fires if {miss['missing']}{now}", *miss["effects"][:3]]
        nearly.append((miss["rule"], "\n".join(lines)))
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
            table(("rule", "condition, effects and reason"), fired),
            Text("\nRules that nearly fired", style="bold"),
            table(("rule", "condition and effects"), nearly),
        )
    )
