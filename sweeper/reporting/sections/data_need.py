"""How much data do I need? The winner and its default by the rows that they were trained on."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import DataNeed
from sweeper.reporting.blocks import Block, Cell, Column, Empty, Figure, Row, Section, Table
from sweeper.reporting.charts.data_curve import data_chart
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import drawn, strategy_cell


@section(35)
def data_need_section(report: Report) -> Section:
    """What more rows would bring."""
    need = report.findings.data_need
    block: Block
    if isinstance(need, NotMeasured):
        block = Empty("not-measured", need.reason, need.command)
    else:
        block = Figure(
            id="data-curve",
            finding=need.sentence,
            note=_note(need),
            panels=drawn(data_chart(need, need.sentence)),
            table=_table(need),
        )
    return Section("data-need", "Data", "How much data do I need?", (block,))


def _note(need: DataNeed) -> str:
    items = f"{need.items:,} validation items" if need.items else "the validation split"
    return (
        f"Points are trainings, each scored on {items}. A training on fewer rows has as many "
        "epochs, so that its tokens are in proportion; its rows have the shares of the classes, "
        "and of one seed the smaller part lies within the larger one. Line and band: expected "
        "score with its 90% interval, from a power law in the rows. Right of all rows they are a "
        "forecast: the expected score with all rows plus the gain of more rows of the same kind, "
        "with the interval of that gain. At twice the rows it is the gain in the heading."
    )


def _table(need: DataNeed) -> Table:
    rows = [
        Row(
            cells=(
                Cell(f"#{curve.trial}"),
                strategy_cell(curve.strategy),
                Cell(f"{point.rows:,}"),
                Cell(str(len(point.scores))),
                Cell(words.score(sum(point.scores) / len(point.scores), need.metric)),
                Cell(words.score(min(point.scores), need.metric)),
                Cell(words.score(max(point.scores), need.metric)),
            ),
            trial=curve.trial,
            pointer=f"/findings/data_need/curves/{i}/points/{j}",
        )
        for i, curve in enumerate(need.curves)
        for j, point in enumerate(curve.points)
    ]
    return Table(
        id="data-points",
        caption=f"Validation {need.metric.title} by training rows",
        columns=(
            Column("trial", number=True),
            Column("strategy"),
            Column("rows", number=True, pointer="/rows"),
            Column("seeds", number=True),
            Column("mean", number=True),
            Column("lowest", number=True),
            Column("highest", number=True),
        ),
        rows=tuple(rows),
    )
