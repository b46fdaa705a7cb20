"""Charts of quality against cost: the objective of all completed trials by time and memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, MeasuredTrials, front_of
from sweeper.reporting.blocks import Drawing, style_of
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.traits.traits import NO_STRATEGY
from sweeper.trials import Trial

# Width of the plot area, in pixels.
_WIDTH = 620
# Baselines that cost less than this share of the cheapest trial are drawn at that share.
_MIN_COST_SHARE = 0.25


@dataclass(frozen=True)
class Cost:
    """A cost of trials and baselines, as a horizontal axis.

    Args:
        title: Title of the axis.
        name: Name of the cost in the switch between charts.
        values: Costs by trial number.
        baselines: Costs by the name of the baseline.
        log: Whether the axis is logarithmic.
    """

    title: str
    name: str
    values: dict[int, float]
    baselines: dict[str, float] = field(default_factory=dict)
    limit: float | None = None
    limit_label: str = ""
    log: bool = True


def measure_cost(measured: MeasuredTrials) -> Cost:
    """The change of a measure by training, as a cost of trials."""
    limit = measured.limit
    return Cost(
        title=f"{measured.title} ({measured.unit}, lower is better)",
        name=measured.title,
        values=measured.changes,
        limit=limit,
        limit_label="" if limit is None else f"limit {limit:g}",
        log=False,
    )


def cost_panel(findings: Findings, cost: Cost, description: str) -> Drawing | None:
    """A chart of the objective by a cost: each strategy's best large, the Pareto front filled."""
    trials = [t for t in findings.trials if t.value is not None and t.number in cost.values]
    if not trials:
        return None
    min_cost = _MIN_COST_SHARE * min(cost.values[trial.number] for trial in trials)
    baseline_rows = _baseline_rows(findings, cost, min_cost)
    x_values = [*_x_values(cost, trials), *(row["x"] for row in baseline_rows)]
    x_scale, y_scale = fit(x_values, log=cost.log, pad=0.08), quality_scale(findings)
    as_cost = findings.objective.as_cost
    front = front_of([(cost.values[t.number], as_cost(t.value or 0.0), t.number) for t in trials])
    x = x_scale.x(7, title=cost.title, grid=False)
    y = y_scale.y(title=draw.value_title(findings))
    best_intervals = {
        s.best_trial: s.best_interval for s in findings.strategies if s.best_trial is not None
    }
    rows = [_row(t, cost, t.number in front, best_intervals, y_scale) for t in trials]
    rows.sort(key=lambda row: (row["fill"] == row["color"], row["color"]))  # the front on top
    sheet = draw.Sheet()
    visible_rows = draw.inside(rows, y_scale)
    other_rows = [*(r for r in visible_rows if not r["best"]), *baseline_rows]
    recommended = findings.verdict.recommended_trial
    recommended_rows = [
        row | {"label": "recommended"} for row in visible_rows if row["trial"] == str(recommended)
    ]
    if findings.verdict.kind not in ("recommend", "tie") or findings.verdict.recommended_baseline:
        recommended_rows = []
    label = partial(draw.end_labels, sheet, x=x, scale=y_scale, height=draw.HEIGHT)
    layers = [
        _front_line(sheet, draw.clipped(rows, y_scale), front, x, y),
        draw.whiskers(sheet, [row for row in rows if row["best"]], x, y_scale),
        draw.marks(sheet, [r for r in visible_rows if r["best"]], x, y, 110),
        draw.marks(sheet, other_rows, x, y, 30),
        draw.arrows(sheet, rows, x, y, y_scale),
        label(rows=baseline_rows, up=9, align="left", dx=7, color=draw.MUTED),
        # No trial is both cheaper and better than one on the front: there is room to its left.
        label(rows=recommended_rows, align="right", dx=-10, color=draw.INK),
    ]
    if cost.limit is not None and x_scale.low <= cost.limit <= x_scale.high:
        layers.append(
            draw.vertical_rule(sheet, x, cost.limit, cost.limit_label, left=True, strokeDash=[4, 3])
        )
    title = f"{words.sentence(words.on_validation(findings.objective))} against {cost.name}"
    chart = alt.layer(*layers)
    return sheet.draw(chart, (_WIDTH, draw.HEIGHT), title, description, wide=True)


def _baseline_rows(findings: Findings, cost: Cost, min_cost: float) -> list[dict[str, Any]]:
    """Rows of the baselines that have this cost and are on the vertical axis."""
    scale, style = quality_scale(findings), {"shape": "circle", "fill": draw.PAPER}
    return [
        draw.row_of(
            NO_STRATEGY,
            None,
            x=max(min_cost, x),
            y=baseline.objective,
            label=baseline.title,
            **style,
        )
        for baseline in findings.baselines
        if (x := cost.baselines.get(baseline.name)) is not None
        and baseline.objective is not None
        and not scale.off(baseline.objective)
    ]


def _x_values(cost: Cost, trials: list[Trial]) -> list[float]:
    """The trials' costs, which the horizontal axis covers; if linear, also zero and the limit."""
    x_values = [cost.values[trial.number] for trial in trials]
    if cost.log:
        return x_values
    return [*x_values, 0.0, *([cost.limit] if cost.limit is not None else [])]


def quality_scale(findings: Findings) -> Scale:
    """The vertical axis of all cost panels.

    It covers most trials, the intervals of each strategy's best, and the baselines.
    """
    scale = trial_scale(findings)
    intervals = [s.best_interval for s in findings.strategies if s.best_interval is not None]
    ends = [end for interval in intervals for end in interval.ends]
    baseline_values = [b.objective for b in findings.baselines if b.objective is not None]
    visible_values = [value for value in _values(findings) if not scale.off(value)]
    return replace(fit([*visible_values, *ends, *baseline_values]), is_cut_below=scale.is_cut_below)


def trial_scale(findings: Findings) -> Scale:
    """A vertical axis for trials, of which the worst may be outside."""
    return focus(_values(findings), higher_is_better=findings.objective.higher_is_better)


def _values(findings: Findings) -> list[float]:
    return [t.value for t in findings.trials if t.value is not None]


def _row(
    trial: Trial,
    cost: Cost,
    on_front: bool,
    best_intervals: dict[int, Interval | None],
    scale: Scale,
) -> dict[str, Any]:
    """The row of a trial; ``best_intervals`` has the best trial of each strategy."""
    value = trial.value or 0.0
    return draw.row_of(
        trial.strategy,
        trial.number,
        x=cost.values[trial.number],
        y=value,
        best=trial.number in best_intervals,
        fill=style_of(trial.strategy).color if on_front else draw.PAPER,
        **draw.clipped_ends(best_intervals.get(trial.number) or Interval(value=value), scale),
    )


def _front_line(
    sheet: draw.Sheet, rows: list[dict[str, Any]], front: list[int], x: Any, y: Any
) -> Any:
    front_rows = [row for row in rows if int(row["trial"]) in front]
    steps = [{"x": row["x"], "y": row["y"]} for row in sorted(front_rows, key=lambda r: r["x"])]
    return (
        sheet.chart(steps)
        .mark_line(interpolate="step-after", strokeWidth=1, color=draw.MUTED)
        .encode(x=x, y=y)
    )
