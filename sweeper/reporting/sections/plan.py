"""The plan in a report: candidates, strategies left out, estimated cost."""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.hyperparameters import KEY_PARAMETERS
from sweeper.plans import Budget, Parameter
from sweeper.reporting.blocks import Block, Bullets, Cell, Code, Column, Row, Table
from sweeper.reporting.document import PlannedStrategy, Report
from sweeper.reporting.sections.parts import strategy_cell
from sweeper.reporting.sections.predicted import PHASES


def plan_blocks(report: Report) -> list[Block]:
    """The blocks of a run without trials: its plan, and how to start it."""
    start = Code("Start it, or continue it", report.findings.reproduction.command)
    blocks: list[Block] = [start, plan_table(report), timing_bullets(report.plan.budget)]
    blocks += declared_table(report)
    if report.plan.rejected:
        blocks.append(rejected_table(report))
    if report.plan.answers:
        items = tuple(f"{answer.question} {answer.answer}" for answer in report.plan.answers)
        blocks.append(Bullets(items, "What the plan answers"))
    return blocks


def timing_bullets(budget: Budget) -> Bullets:
    """Time, money and energy of the sweep, and the sources of the estimates."""
    items = []
    if budget.sweep is not None:
        items.append(f"The whole sweep: {units.span(budget.sweep.low, budget.sweep.high)}.")
    items += [
        f"{PHASES[name].capitalize()}: {units.span(phase.low, phase.high)}."
        for name, phase in budget.phases.items()
        if name in PHASES
    ]
    if bill := bill_text(budget):
        items.append(f"It should use {bill}.")
    items += [f"The times are estimated from: {text}." for text in budget.timing]
    return Bullets(tuple(items), "Time, money and energy (estimates)")


def bill_text(budget: Budget) -> str:
    """Money and energy of the sweep, as ranges; empty where neither is known."""
    told = []
    if budget.cost_low_usd is not None and budget.cost_high_usd is not None:
        told.append(f"{budget.cost_low_usd:.2f} to {budget.cost_high_usd:.2f} USD")
    if budget.energy_low_kwh is not None and budget.energy_high_kwh is not None:
        low, high = units.number(budget.energy_low_kwh), units.number(budget.energy_high_kwh)
        told.append(f"{low} to {high} kWh at the cards' board power")
    return " and ".join(told)


def plan_table(report: Report) -> Table:
    """Every strategy that competes with its estimates."""
    return Table(
        id="plan",
        caption="The plan (estimates)",
        columns=(
            Column("strategy", pointer="/strategy"),
            Column("memory", unit="GiB", number=True, pointer="/memory/peak_gib"),
            Column("of", unit="GiB", number=True, pointer="/memory/limit_gib"),
            Column("a trial"),
            Column("trained parameters", number=True, pointer="/trainable_parameters"),
            Column("search space (default)"),
        ),
        rows=tuple(
            _row(planned, f"/plan/strategies/{i}")
            for i, planned in enumerate(report.plan.strategies)
        ),
    )


def _row(planned: PlannedStrategy, pointer: str) -> Row:
    duration = planned.duration
    spaces = [
        f"{name} {space_of(planned.parameters[name])}"
        for name in KEY_PARAMETERS
        if name in planned.parameters
    ]
    return Row(
        cells=(
            strategy_cell(planned.strategy),
            Cell(units.gib(planned.memory.peak_gib).removesuffix(" GiB")),
            Cell(units.gib(planned.memory.limit_gib).removesuffix(" GiB")),
            Cell(units.span(duration.low, duration.high)),
            Cell(units.count(planned.trainable_parameters)),
            Cell(" · ".join(spaces)),
        ),
        pointer=pointer,
    )


def space_of(parameter: Parameter) -> str:
    """The best-practice range of a parameter and its default."""
    default = words.value(parameter.default)
    if not parameter.searched:
        return default
    if parameter.choices is not None:
        return f"{'|'.join(words.value(choice) for choice in parameter.choices)} ({default})"
    return f"{words.value(parameter.low)} to {words.value(parameter.high)} ({default})"


def declared_table(report: Report) -> list[Block]:
    """Parameters that the user declared, beside the rule book's; none if none were declared."""
    rows = [
        Row(
            (
                strategy_cell(planned.strategy),
                Cell(name),
                Cell(space_of(parameter)),
                Cell(parameter.shipped),
                Cell(parameter.source),
            ),
            pointer=f"/plan/strategies/{number}/parameters/{name}",
        )
        for number, planned in enumerate(report.plan.strategies)
        for name, parameter in planned.parameters.items()
        if parameter.shipped
    ]
    if not rows:
        return []
    columns = ("strategy", "parameter", "declared (default)", "the rule book", "where")
    caption = "Parameters that were declared by the user; the search stayed within them"
    return [
        Table(
            id="declared-parameters",
            caption=caption,
            columns=tuple(Column(name) for name in columns),
            rows=tuple(rows),
        )
    ]


def rejected_table(report: Report) -> Table:
    """What was left out, why, and what would change that; one row for each reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for rejected in report.plan.rejected:
        names = grouped.setdefault((rejected.reason, rejected.remedy), [])
        names.append(words.short(rejected.strategy))
    return Table(
        id="left-out",
        caption="Left out by the plan",
        columns=(Column("strategy"), Column("reason"), Column("what would change it")),
        rows=tuple(
            Row((Cell(", ".join(dict.fromkeys(names))), Cell(reason), Cell(remedy or words.DASH)))
            for (reason, remedy), names in grouped.items()
        ),
    )
