"""How much data do I need? The winner and its default by the rows that they were trained on."""

from __future__ import annotations

from statistics import fmean

from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import DataCurve, DataNeed, DataPoint
from sweeper.reporting.blocks import Block, Column, Empty, Figure, Number, Section, Table, placed
from sweeper.reporting.charts.data_curve import data_chart
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import drawn, strategy_cell


@section(35)
def data_need_section(report: Report) -> Section:
    """What more rows would bring."""
    need, told = report.findings.data_need, report.findings.run.curve_told
    told = f" {words.sentence(told)}." if told else ""
    block: Block
    if isinstance(need, NotMeasured):
        block = Empty("not-measured", f"{need.reason}{told}", need.command)
    else:
        block = Figure(
            id="data-curve",
            finding=need.sentence,
            note=f"{_note(need)}{told}",
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
    columns: list[Column[tuple[DataCurve, DataPoint]]] = [
        Number("trial", lambda row: f"#{row[0].trial}"),
        Column("strategy", lambda row: strategy_cell(row[0].strategy)),
        Number("rows", lambda row: f"{row[1].rows:,}", "/rows"),
        Number("seeds", lambda row: str(len(row[1].scores))),
        Number("mean", lambda row: words.score(fmean(row[1].scores), need.metric)),
        Number("lowest", lambda row: words.score(min(row[1].scores), need.metric)),
        Number("highest", lambda row: words.score(max(row[1].scores), need.metric)),
    ]
    rows = [
        (pointer, (curve, point))
        for at, curve in placed(need.curves, "/findings/data_need/curves")
        for pointer, point in placed(curve.points, f"{at}/points")
    ]
    caption = f"Validation {need.metric.title} by training rows"
    return Table.of("data-points", caption, columns, rows, trial=lambda row: row[0].trial)
