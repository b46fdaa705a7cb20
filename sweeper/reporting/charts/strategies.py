"""Quality against cost: the objective against time and memory, every completed trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.record import Findings, TrialRow
from sweeper.reporting.blocks import Panel
from sweeper.reporting.charts.draw import MUTED, Sheet, arrows, inside, marks, whiskers
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.charts.search import HEIGHT, value_title
from sweeper.reporting.palette import look

_WIDTH = 450


@dataclass(frozen=True)
class Cost:
    """One horizontal axis: its title, and a trial's value on it.

    ``marked`` is a trial to be named in the drawing: the recommended one.
    """

    title: str
    name: str
    values: dict[int, float]
    limit: float | None = None
    limit_label: str = ""
    log: bool = True
    marked: int | None = None


def cost_panel(findings: Findings, cost: Cost, description: str) -> Panel | None:
    """The objective against one cost: best of each strategy large, front filled, others hollow."""
    trials = [t for t in findings.trials if t.objective is not None and t.number in cost.values]
    if not trials:
        return None
    x_scale = fit(_places(cost, trials), log=cost.log, pad=0.12)
    y_scale = cost_scale(findings)
    worse = findings.objective.worse
    front = front_of([(cost.values[t.number], worse(t.objective or 0.0), t.number) for t in trials])
    x = alt.X(
        "x:Q",
        scale=x_scale.altair(),
        axis=x_scale.axis(5, title=cost.title, grid=False),
    )
    y = alt.Y(
        "y:Q",
        scale=y_scale.altair(),
        axis=y_scale.axis(title=value_title(findings)),
    )
    best = {s.best_trial: s.best_interval for s in findings.strategies if s.best_trial is not None}
    rows = [_row(t, cost, t.number in front, best, y_scale) for t in trials]
    rows.sort(key=lambda row: (row["fill"] == row["color"], row["color"]))
    sheet = Sheet()
    clipped = [{**row, "y": y_scale.clip(row["y"])} for row in rows]
    chart = _front(sheet, clipped, front, x, y) + whiskers(
        sheet, [r for r in rows if r["best"]], x, y_scale
    )
    seen = inside(rows, y_scale)
    chart = chart + marks(sheet, [r for r in seen if r["best"]], x, y, 110)
    chart = chart + marks(sheet, [r for r in seen if not r["best"]], x, y, 30)
    chart = chart + arrows(sheet, rows, x, y, y_scale)
    if cost.limit is not None and x_scale.low <= cost.limit <= x_scale.high:
        chart = chart + _limit(sheet, cost.limit, cost.limit_label, x)
    if any(row["trial"] == str(cost.marked) for row in rows):
        chart = chart + _mark(sheet, [r for r in rows if r["trial"] == str(cost.marked)], x, y)
    chart = chart.properties(width=_WIDTH, height=HEIGHT)
    return Panel(
        sheet.draw(
            chart,
            f"{words.sentence(words.on_validation(findings.objective))} against {cost.name}",
            description,
        )
    )


def _places(cost: Cost, trials: list[TrialRow]) -> list[float]:
    """The values of a horizontal axis; on a linear one zero and the limit as well."""
    places = [cost.values[trial.number] for trial in trials]
    if cost.log:
        return places
    return [*places, 0.0, *([cost.limit] if cost.limit is not None else [])]


def front_of(points: list[tuple[float, float, int]]) -> list[int]:
    """Trials that no other one beats on both counts, by rising cost.

    >>> front_of([(1.0, 5.0, 0), (2.0, 3.0, 1), (3.0, 4.0, 2)])
    [0, 1]
    """
    found: list[int] = []
    lowest = float("inf")
    for _, loss, number in sorted(points):
        if loss < lowest:
            lowest = loss
            found.append(number)
    return found


def cost_scale(findings: Findings) -> Scale:
    """The vertical axis that all cost panels share."""
    higher = findings.objective.higher_is_better
    return focus(_all_values(findings), higher_is_better=higher)


def _all_values(findings: Findings) -> list[float]:
    values = [t.objective for t in findings.trials if t.objective is not None]
    ends = [s.best_interval for s in findings.strategies if s.best_interval is not None]
    low = [end.low for end in ends if end.low is not None]
    high = [end.high for end in ends if end.high is not None]
    return [*values, *low, *high]


def _row(
    trial: TrialRow,
    cost: Cost,
    on_front: bool,
    best: dict[int, Interval | None],
    scale: Scale,
) -> dict[str, Any]:
    style, interval = look(trial.strategy), best.get(trial.number)
    value = trial.objective or 0.0
    low = interval.low if interval and interval.low is not None else value
    high = interval.high if interval and interval.high is not None else value
    return {
        "x": cost.values[trial.number],
        "y": value,
        "low": scale.clip(low),
        "high": scale.clip(high),
        "best": trial.number in best,
        "color": style.color,
        "fill": style.color if on_front else "var(--paper)",
        "shape": style.shape,
        "trial": str(trial.number),
    }


def _front(sheet: Sheet, rows: list[dict[str, Any]], front: list[int], x: Any, y: Any) -> Any:
    found = [row for row in rows if int(row["trial"]) in front]
    steps = [{"x": row["x"], "y": row["y"]} for row in sorted(found, key=lambda r: r["x"])]
    return (
        sheet.chart(steps)
        .mark_line(interpolate="step-after", strokeWidth=1, color=MUTED)
        .encode(x=x, y=y)
    )


def _mark(sheet: Sheet, rows: list[dict[str, Any]], x: Any, y: Any) -> Any:
    named = [{"x": row["x"], "y": row["y"], "label": "recommended"} for row in rows]
    return (
        sheet.chart(named)
        .mark_text(align="left", dx=9, dy=-9, color=MUTED)
        .encode(x=x, y=y, text="label:N")
    )


def _limit(sheet: Sheet, value: float, label: str, x: Any) -> Any:
    row = [{"x": value, "label": label}]
    line = sheet.chart(row).mark_rule(strokeDash=[4, 3], color=MUTED).encode(x=x)
    text = (
        sheet.chart(row)
        .mark_text(align="right", dx=-4, color=MUTED)
        .encode(x=x, y=alt.value(6), text="label:N")
    )
    return line + text
