"""How much data do I need? The winner and its default by the rows that they were trained on."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import altair as alt

from sweeper.features.data_curve._curve import DataCurve, DataPoint, Figures, data_need
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import Findings, NextStep
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Drawing, Figure, Number, Table, placed
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit
from sweeper.reporting.document import Report
from sweeper.reporting.parts import drawn, strategy_cell

_WIDTH, _HEIGHT = 560, 300
# What a bare label needs beside the last place of the curve, as a factor of the rows.
_ROOM = 1.9
_DEFAULT_DASH = [4, 3]


HEADING = Heading(80, "data-need", "How much data")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """The data curve of the winner and its default."""
    need = data_need(run, findings.metric, findings.verdict.recommended_trial)
    decision = _decision(run)
    if isinstance(need, NotMeasured):
        return need.model_copy(update={"reason": f"{need.reason} {decision}".rstrip()})
    return need.model_copy(update={"decision": decision})


def _decision(run: RunFiles) -> str:
    """Why the phase was made or not, as a sentence; empty where that was not decided."""
    phases = run.status.get("optional_phases")
    decided = phases.get("data_curve") if isinstance(phases, dict) else None
    text = decided.get("text") if isinstance(decided, dict) else None
    return f"{words.sentence(str(text))}." if text else ""


def finding(figures: Figures, report: Report) -> str:
    """What twice the rows would bring."""
    return figures.sentences[0]


def card(figures: Figures, findings: Findings) -> list[str]:
    """The same."""
    return [figures.sentence]


def advise(figures: Figures, findings: Findings) -> NextStep | None:
    """More rows, if twice as many would bring more than the margin."""
    curve = figures.curves[0]
    if not curve.seen or curve.twice.value < findings.margin_points / 100:
        return None
    because = (
        f"{figures.sentence} Give more rows with --data, and --new (this run is kept, renamed)."
    )
    return NextStep(kind="more-data", because=because)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """What more rows would bring."""
    yield Figure(
        id="data-curve",
        finding=figures.sentence,
        note=f"{_note(figures)} {figures.decision}".rstrip(),
        panels=drawn(data_chart(figures, figures.sentence)),
        tables=(_table(figures),),
    )


def _note(need: Figures) -> str:
    items = f"{need.items:,} validation items" if need.items else "the validation split"
    return (
        f"Points are trainings, each scored on {items}. A training on fewer rows has as many "
        "epochs, so that its tokens are in proportion; its rows have the shares of the classes, "
        "and of one seed the smaller part lies within the larger one. Line and band: expected "
        "score with its 90% interval, from a power law in the rows. Right of all rows they are a "
        "forecast: the expected score with all rows plus the gain of more rows of the same kind, "
        "with the interval of that gain. At twice the rows it is the gain in the heading."
    )


def _table(need: Figures) -> Table:
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
        for at, curve in placed(need.curves, "/sections/data-need/curves")
        for pointer, point in placed(curve.points, f"{at}/points")
    ]
    caption = f"Validation {need.metric.title} by training rows"
    return Table.of("data-points", caption, columns, rows, trial=lambda row: row[0].trial)


def data_chart(need: Figures, description: str) -> Drawing:
    """Every curve with its band up to twice the rows, and a line at all rows that there are."""
    share = need.metric.unit == "points"
    factor = 100 if share else 1
    rows = [_rows(need, index, factor) for index in range(len(need.curves))]
    points = [point for _, curve in rows for point in curve]
    band = [point for curve, _ in rows for point in curve]
    scores = [point["y"] for point in [*points, *band]]
    # A wide band must not squeeze what was measured: half of its span at either end is enough.
    room = (max(scores) - min(scores)) / 2
    ends = [end for point in band for end in (point["low"], point["high"])]
    near = [end for end in ends if min(scores) - room <= end <= max(scores) + room]
    y_scale = fit([*scores, *near], log=False)
    counts = [point["x"] for point in [*points, *band]]
    x_scale = Scale(min(counts) / 1.1, max(counts) * _ROOM, log=True)
    title = f"{need.metric.title}, %" if share else f"loss, {need.metric.unit}"
    better = "higher" if need.metric.higher_is_better else "lower"
    x = alt.X("x:Q", scale=x_scale.altair(), axis=_axis(need, x_scale))
    y = y_scale.y(title=f"validation {title} ({better} is better)")
    sheet = draw.Sheet()
    for point in band:
        point["low"], point["high"] = y_scale.clip(point["low"]), y_scale.clip(point["high"])
    label = "all rows that there are"
    chart = draw.vertical_rule(sheet, x, need.rows, label, left=True, strokeDash=[2, 3])
    for curve, _ in rows:
        area, low = (
            sheet.chart(curve).mark_area(opacity=0.18),
            alt.Y("low:Q", scale=y_scale.altair()),
        )
        chart = chart + area.encode(x=x, y=low, y2="high:Q", color=draw.COLOR)
        chart = chart + draw.lines(sheet, curve, x, y, strokeWidth=2)
    chart = chart + draw.marks(sheet, points, x, y, size=46)
    ends = [curve[-1] for curve, _ in rows]
    chart = chart + draw.end_labels(sheet, ends, x, y_scale, _HEIGHT, dx=8, color=draw.INK)
    title = "Validation score by training rows"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, description, wide=True)


def _axis(need: Figures, scale: Scale) -> Any:
    sizes = sorted({point.rows for curve in need.curves for point in curve.points})
    inside = [float(size) for size in (*sizes, 2 * need.rows) if scale.low <= size <= scale.high]
    return alt.Axis(values=inside, format=",d", grid=False, title="training rows")


def _rows(
    need: Figures, index: int, factor: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The places of one curve's band, and its trainings."""
    curve = need.curves[index]
    second = index > 0
    label = f"{words.short(curve.strategy)} #{curve.trial}{', default' if second else ''}"
    sign = draw.row_of(curve.strategy, curve.trial, label=label, dash=[1, 0])
    sign["fill"] = sign["color"]
    if second:
        sign |= {"color": draw.MUTED, "fill": draw.PAPER, "dash": _DEFAULT_DASH}
    band = [
        {
            "x": value.rows,
            "y": factor * value.value,
            "low": factor * value.low,
            "high": factor * value.high,
            **sign,
        }
        for value in curve.band
    ]
    points = [
        {"x": point.rows, "y": factor * score, **sign}
        for point in curve.points
        for score in point.scores
    ]
    return band, points
