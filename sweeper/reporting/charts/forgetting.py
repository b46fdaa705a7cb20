"""What was lost: base against tuned by task, and the losses with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from sweeper.findings.record import Forgetting, GeneralTask
from sweeper.reporting.blocks import Drawing
from sweeper.reporting.charts.draw import (
    INK,
    PAPER,
    Sheet,
    clipped_ends,
    plain,
    row_of,
    shaped,
    vertical_rule,
)
from sweeper.reporting.charts.scales import Scale, fit
from sweeper.reporting.palette import look

_WIDTH = 380
# Height of one task with one mark; every further mark needs its own line.
_BAND, _LINE = 34, 16


def dumbbell(tasks: Sequence[GeneralTask], description: str) -> Drawing | None:
    """Base (hollow) and tuned (filled) on each task that is right or wrong, joined by a line."""
    scored = [task for task in tasks if task.unit == "points"]
    if not scored:
        return None
    ends = [100 * end.value for task in scored for end in (task.base, task.tuned)]
    scale = fit(ends, log=False, pad=0.15)
    x = _axis(scale, "score, % (higher is better)")
    sheet, rows = Sheet(), []
    for task in scored:
        scores = {"base": 100 * task.base.value, "tuned": 100 * task.tuned.value}
        rows.append(row_of(task.strategy, task.trial, task=task.task, **scores))
    y = _bands(padding=0.4)
    joined = (
        sheet.chart(rows)
        .mark_rule(strokeWidth=1.5)
        .encode(x=x("base"), x2="tuned:Q", y=y, color=plain("color"), description="trial:N")
    )
    base = (
        sheet.chart(rows)
        .mark_point(size=90, opacity=1, shape="circle", fill=PAPER, stroke=INK, strokeWidth=1.5)
        .encode(x=x("base"), y=y, description="trial:N")
    )
    tuned = (
        sheet.chart(rows)
        .mark_point(size=90, opacity=1, strokeWidth=1.5)
        .encode(
            x=x("tuned"),
            y=y,
            stroke=alt.Stroke("color:N", scale=None),
            fill=alt.Fill("color:N", scale=None),
            shape=shaped("shape"),
            description="trial:N",
        )
    )
    size = _WIDTH, _BAND * len(scored) + 10
    return sheet.draw(joined + base + tuned, size, "Base and tuned score by task", description)


def points_lost(measured: Forgetting, description: str) -> Drawing | None:
    """What every trial that was scored lost, with 95% intervals, zero and the limit."""
    if not measured.tasks:
        return None
    names = list(dict.fromkeys(task.task for task in measured.tasks))
    groups = [[t for t in measured.tasks if t.task == name] for name in names]
    limit = measured.limit_points
    reach = [0.0] + ([limit] if limit is not None else [])
    for task in measured.tasks:
        reach += task.forgetting.ends
    scale = fit(reach, log=False)
    most = max(len(group) for group in groups)
    height = len(names) * (_BAND + _LINE * (most - 1)) + 10
    x = _axis(scale, "lost: points, or 0.01 nats/token (lower is better)")
    sheet, rows = Sheet(), []
    for group in groups:
        for place, task in enumerate(group):
            offset = (place - (len(group) - 1) / 2) * _LINE
            rows.append(_lost_row(task, offset, scale, measured.recommended_trial))
    y, offset = _bands(type="point", padding=0.5), alt.YOffset("offset:Q", scale=None)
    chart = vertical_rule(sheet, x("x"), 0.0, "no loss", at=-2)
    if limit is not None:
        chart = chart + vertical_rule(
            sheet, x("x"), limit, f"limit {limit:g}", at=8, strokeDash=[4, 3]
        )
    chart = (
        chart
        + sheet.chart(rows)
        .mark_rule(strokeWidth=1.5)
        .encode(
            x=x("low"),
            x2="high:Q",
            y=y,
            yOffset=offset,
            color=plain("color"),
            description="trial:N",
        )
        + sheet.chart(rows)
        .mark_point(opacity=1, strokeWidth=1.5)
        .encode(
            x=x("lost"),
            y=y,
            yOffset=offset,
            size=alt.Size("size:Q", scale=None),
            stroke=alt.Stroke("color:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            shape=shaped("shape"),
            description="trial:N",
        )
    )
    return sheet.draw(chart, (_WIDTH, height), "What was lost, by task", description)


def _lost_row(
    task: GeneralTask, offset: float, scale: Scale, recommended: int | None
) -> dict[str, Any]:
    marked = task.trial == recommended
    return row_of(
        task.strategy,
        task.trial,
        task=task.task,
        offset=offset,
        lost=task.forgetting.value,
        fill=look(task.strategy).color if marked else PAPER,
        size=110 if marked else 50,
        **clipped_ends(task.forgetting, scale),
    )


def _axis(scale: Scale, title: str) -> Any:
    def x(field: str) -> Any:
        axis = scale.axis(5, title=title, grid=True)
        return alt.X(f"{field}:Q", scale=scale.altair(), axis=axis)

    return x


def _bands(**scale: Any) -> Any:
    axis = alt.Axis(title=None, domain=False, ticks=False, labelLimit=130, labelColor=INK)
    # The first row's names decide the order, whatever the alphabet says.
    return alt.Y("task:N", sort=None, scale=alt.Scale(**scale), axis=axis)
