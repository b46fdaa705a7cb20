"""Quality against cost: the objective against time and memory, every completed trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.front import front_of
from sweeper.findings.record import Findings, TrialRow
from sweeper.findings.study.changes import MeasuredTrials
from sweeper.reporting.blocks import Drawing
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
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


def measure_cost(measured: MeasuredTrials, marked: int | None) -> Cost:
    """What training changed in a measure, as a cost."""
    limit = measured.limit
    return Cost(
        title=f"{measured.title} ({measured.unit}, lower is better)",
        name="measure",
        values=measured.changes,
        limit=limit,
        limit_label="" if limit is None else f"limit {limit:g}",
        log=False,
        marked=marked,
    )


def cost_panel(findings: Findings, cost: Cost, description: str) -> Drawing | None:
    """The objective against one cost: best of each strategy large, front filled, others hollow."""
    trials = [t for t in findings.trials if t.objective is not None and t.number in cost.values]
    if not trials:
        return None
    x_scale = fit(_places(cost, trials), log=cost.log, pad=0.12)
    y_scale = cost_scale(findings)
    worse = findings.objective.worse
    front = front_of([(cost.values[t.number], worse(t.objective or 0.0), t.number) for t in trials])
    x = x_scale.x(5, title=cost.title, grid=False)
    y = y_scale.y(title=draw.value_title(findings))
    best = {s.best_trial: s.best_interval for s in findings.strategies if s.best_trial is not None}
    rows = [_row(t, cost, t.number in front, best, y_scale) for t in trials]
    rows.sort(key=lambda row: (row["fill"] == row["color"], row["color"]))
    sheet = draw.Sheet()
    best_rows = [row for row in rows if row["best"]]
    chart = _front(sheet, draw.clipped(rows, y_scale), front, x, y)
    chart = chart + draw.whiskers(sheet, best_rows, x, y_scale)
    seen = draw.inside(rows, y_scale)
    chart = chart + draw.marks(sheet, [r for r in seen if r["best"]], x, y, 110)
    chart = chart + draw.marks(sheet, [r for r in seen if not r["best"]], x, y, 30)
    chart = chart + draw.arrows(sheet, rows, x, y, y_scale)
    if cost.limit is not None and x_scale.low <= cost.limit <= x_scale.high:
        chart = chart + draw.vertical_rule(
            sheet, x, cost.limit, cost.limit_label, left=True, strokeDash=[4, 3]
        )
    if any(row["trial"] == str(cost.marked) for row in rows):
        chart = chart + _mark(sheet, [r for r in rows if r["trial"] == str(cost.marked)], x, y)
    title = f"{words.sentence(words.on_validation(findings.objective))} against {cost.name}"
    return sheet.draw(chart, (_WIDTH, draw.HEIGHT), title, description)


def _places(cost: Cost, trials: list[TrialRow]) -> list[float]:
    """The values of a horizontal axis; on a linear one zero and the limit as well."""
    places = [cost.values[trial.number] for trial in trials]
    if cost.log:
        return places
    return [*places, 0.0, *([cost.limit] if cost.limit is not None else [])]


def cost_scale(findings: Findings) -> Scale:
    """The vertical axis that all cost panels share."""
    higher = findings.objective.higher_is_better
    return focus(_all_values(findings), higher_is_better=higher)


def _all_values(findings: Findings) -> list[float]:
    values = [t.objective for t in findings.trials if t.objective is not None]
    intervals = [s.best_interval for s in findings.strategies if s.best_interval is not None]
    return [*values, *(end for interval in intervals for end in interval.ends)]


def _row(
    trial: TrialRow, cost: Cost, on_front: bool, best: dict[int, Interval | None], scale: Scale
) -> dict[str, Any]:
    value = trial.objective or 0.0
    return draw.row_of(
        trial.strategy,
        trial.number,
        x=cost.values[trial.number],
        y=value,
        best=trial.number in best,
        fill=look(trial.strategy).color if on_front else draw.PAPER,
        **draw.clipped_ends(best.get(trial.number) or Interval(value=value), scale),
    )


def _front(sheet: draw.Sheet, rows: list[dict[str, Any]], front: list[int], x: Any, y: Any) -> Any:
    found = [row for row in rows if int(row["trial"]) in front]
    steps = [{"x": row["x"], "y": row["y"]} for row in sorted(found, key=lambda r: r["x"])]
    return (
        sheet.chart(steps)
        .mark_line(interpolate="step-after", strokeWidth=1, color=draw.MUTED)
        .encode(x=x, y=y)
    )


def _mark(sheet: draw.Sheet, rows: list[dict[str, Any]], x: Any, y: Any) -> Any:
    named = [{"x": row["x"], "y": row["y"], "label": "recommended"} for row in rows]
    return (
        sheet.chart(named)
        .mark_text(align="left", dx=9, dy=-9, color=draw.MUTED)
        .encode(x=x, y=y, text="label:N")
    )
