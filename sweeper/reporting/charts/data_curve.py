"""Scores by the number of training rows: trainings as points, the curve with its band."""

from __future__ import annotations

from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.record import DataNeed
from sweeper.reporting.blocks import Drawing
from sweeper.reporting.charts.draw import (
    INK,
    MUTED,
    PAPER,
    Sheet,
    dashed,
    end_labels,
    marks,
    plain,
    row_of,
    vertical_rule,
)
from sweeper.reporting.charts.scales import Scale, fit

_WIDTH, _HEIGHT = 560, 300
# What a bare label needs beside the last place of the curve, as a factor of the rows.
_ROOM = 1.9
_DEFAULT_DASH = [4, 3]


def data_chart(need: DataNeed, description: str) -> Drawing:
    """Every curve with its band up to twice the rows, and a line at all rows that there are."""
    share = need.metric.unit == "points"
    factor = 100 if share else 1
    rows = [_rows(need, place, factor) for place in range(len(need.curves))]
    points = [point for _, found in rows for point in found]
    band = [point for found, _ in rows for point in found]
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
    sheet = Sheet()
    for point in band:
        point["low"], point["high"] = y_scale.clip(point["low"]), y_scale.clip(point["high"])
    said = "all rows that there are"
    chart = vertical_rule(sheet, x, need.rows, said, left=True, strokeDash=[2, 3])
    for found, _ in rows:
        area = sheet.chart(found).mark_area(opacity=0.18)
        chart = chart + area.encode(
            x=x, y=alt.Y("low:Q", scale=y_scale.altair()), y2="high:Q", color=plain("color")
        )
        line = sheet.chart(found).mark_line(strokeWidth=2)
        chart = chart + line.encode(x=x, y=y, color=plain("color"), strokeDash=dashed("dash"))
    chart = chart + marks(sheet, points, x, y, size=46)
    ends = [found[-1] for found, _ in rows]
    chart = chart + end_labels(sheet, ends, x, y_scale, _HEIGHT, dx=8, color=INK)
    title = "Validation score by training rows"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, description, wide=True)


def _axis(need: DataNeed, scale: Scale) -> Any:
    sizes = sorted({point.rows for curve in need.curves for point in curve.points})
    inside = [float(size) for size in (*sizes, 2 * need.rows) if scale.low <= size <= scale.high]
    return alt.Axis(values=inside, format=",d", grid=False, title="training rows")


def _rows(
    need: DataNeed, place: int, factor: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The places of one curve's band, and its trainings."""
    curve = need.curves[place]
    second = place > 0
    label = f"{words.short(curve.strategy)} #{curve.trial}{', default' if second else ''}"
    sign = row_of(curve.strategy, curve.trial, label=label, dash=[1, 0])
    sign["fill"] = sign["color"]
    if second:
        sign |= {"color": MUTED, "fill": PAPER, "dash": _DEFAULT_DASH}
    band = [
        {
            "x": one.rows,
            "y": factor * one.value,
            "low": factor * one.low,
            "high": factor * one.high,
            **sign,
        }
        for one in curve.band
    ]
    points = [
        {"x": point.rows, "y": factor * score, **sign}
        for point in curve.points
        for score in point.scores
    ]
    return band, points
