"""Tables of the plan: candidates with estimates, declared parameters, rejected strategies."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.hyperparameters import KEY_PARAMETERS
from sweeper.plans import Candidate, Parameter
from sweeper.reporting.blocks import (
    Block,
    Code,
    Column,
    Number,
    Table,
    strategy_cell,
    with_json_pointers,
)
from sweeper.reporting.document import Report
from sweeper.traits.traits import StrategyOnModel


def plan_blocks(report: Report) -> Iterator[Block]:
    """The blocks of a run without trials: its plan, and how to start it."""
    yield Code("Start or continue the sweep", report.findings.reproduction.command)
    yield plan_table(report)
    yield from declared_table(report)
    if report.plan.rejected:
        yield rejected_table(report)


def plan_table(report: Report) -> Table:
    """The candidates of the plan, with estimates."""
    columns: list[Column[Candidate]] = [
        Column.of("strategy", "/strategy", strategy_cell),
        Number.of("memory", "/memory/peak_gib", _gib, "GiB"),
        Number.of("limit", "/memory/limit_gib", _gib, "GiB"),
        Column("time of a trial", lambda p: units.span(p.duration.low, p.duration.high)),
        Number.of("trained parameters", "/trainable_parameters", units.count),
        Column("search space (default)", _search_spaces),
    ]
    rows = with_json_pointers(report.plan.strategies, "/plan/strategies")
    return Table.of("plan", "The plan (estimates)", columns, rows)


def _gib(size: float) -> str:
    return units.gib(size).removesuffix(" GiB")


def _search_spaces(planned: Candidate) -> str:
    return " · ".join(
        f"{name} {words.search_space(planned.parameters[name], name)}"
        for name in KEY_PARAMETERS
        if name in planned.parameters
    )


def declared_table(report: Report) -> list[Block]:
    """A table of the parameters that the user declared; empty if there are none."""
    columns: list[Column[tuple[StrategyOnModel, str, Parameter]]] = [
        Column("strategy", lambda row: strategy_cell(row[0])),
        Column("parameter", lambda row: row[1]),
        Column("declared (default)", lambda row: words.search_space(row[2], row[1])),
        Column("in the rule book", lambda row: row[2].shipped),
        Column("where", lambda row: row[2].source),
    ]
    # ``shipped`` is set only where the user's own range replaced that of the rule book.
    rows = [
        (f"{parent}/parameters/{name}", (planned.strategy, name, parameter))
        for parent, planned in with_json_pointers(report.plan.strategies, "/plan/strategies")
        for name, parameter in planned.parameters.items()
        if parameter.shipped
    ]
    caption = "Parameters that the user declared; the search stayed within them"
    return [Table.of("declared-parameters", caption, columns, rows)] if rows else []


def rejected_table(report: Report) -> Table:
    """The strategies that the plan leaves out, a row for each reason and remedy."""
    names_by_reason: dict[tuple[str, str], list[str]] = {}
    for rejected in report.plan.rejected:
        names = names_by_reason.setdefault((rejected.reason, rejected.remedy), [])
        names.append(words.short(rejected.strategy))
    columns: list[Column[tuple[str, str]]] = [
        Column("strategy", lambda why: ", ".join(dict.fromkeys(names_by_reason[why]))),
        Column("reason", lambda why: why[0]),
        Column("what would change it", lambda why: why[1] or words.DASH),
    ]
    return Table.of(
        "left-out", "Left out by the plan", columns, with_json_pointers(names_by_reason)
    )
