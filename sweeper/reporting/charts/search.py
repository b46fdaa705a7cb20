"""Did the search help? Default against best of each strategy, and the best so far by trial."""

from __future__ import annotations

from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.record import Findings, SearchGain
from sweeper.reporting.blocks import Drawing
from sweeper.reporting.charts.draw import (
    INK,
    LABEL_PIXELS,
    MUTED,
    Rows,
    Sheet,
    arrows,
    clipped,
    clipped_ends,
    dashed,
    dots,
    end_labels,
    inside,
    plain,
    row_of,
    vertical_rule,
    whiskers,
)
from sweeper.reporting.charts.scales import Scale, fit, focus

HEIGHT = 260
_SLOPE_WIDTH = 300
_STEP_WIDTH = 600
# Above this many trials, marks are smaller and let each other show through.
_CROWD = 120


def value_title(findings: Findings) -> str:
    """The vertical axis of every chart of trials."""
    metric = findings.objective
    parts = words.on_validation(metric), "" if metric.unit == "points" else metric.unit
    return f"{', '.join(filter(None, parts))} ({metric.direction})"


def slope(findings: Findings, description: str) -> Drawing | None:
    """Default to best, one line a strategy, with the 95% intervals of the items."""
    gains = [gain for gain in findings.gains if gain.best_value is not None]
    if not gains:
        return None
    ends = [end for gain in gains for end in _ends(gain)]
    scale = fit([value for _, interval, _ in ends for value in interval.ends])
    sheet = Sheet()
    rows, marks, labels = _slope_rows(gains, scale)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[-0.25, 1.75], nice=False),
        axis=alt.Axis(
            values=[0, 1],
            labelExpr="datum.value < 0.5 ? 'default' : 'best found'",
            grid=False,
            title=None,
            ticks=False,
        ),
    )
    y = scale.y(title=value_title(findings))
    chart = (
        _lines(sheet, rows, x, y)
        + whiskers(sheet, marks, x, scale)
        + dots(sheet, marks, x, y, 64)
        + end_labels(sheet, labels, x, scale, HEIGHT, color=INK)
    )
    title = "Default against best found, by strategy"
    return sheet.draw(chart, (_SLOPE_WIDTH, HEIGHT), title, description)


def _ends(gain: SearchGain) -> list[tuple[float, Interval, int | None]]:
    """(0 or 1, value, trial) of the default and of the best."""
    default, best = gain.default_interval, gain.best_interval
    found = [(0.0, default, gain.default_trial), (1.0, best, gain.best_trial)]
    return [(x, interval, trial) for x, interval, trial in found if interval is not None]


def _slope_rows(
    gains: list[SearchGain], scale: Scale
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    lines, marks, labels = [], [], []
    for index, gain in enumerate(gains):
        # Side by side, so that whiskers of several strategies do not lie on one another.
        shift = (index - (len(gains) - 1) / 2) * min(0.08, 0.32 / len(gains))
        for x, interval, trial in _ends(gain):
            at = {"x": x + shift, "y": interval.value, **clipped_ends(interval, scale)}
            mark = row_of(gain.strategy, trial, strategy=gain.strategy, **at)
            marks.append(mark)
            lines.append({**mark, "trial": str(gain.best_trial)})
        label = f"{words.short(gain.strategy)} #{gain.best_trial}"
        labels.append({"x": 1.27, "y": gain.best_value, "label": label})
    return lines, marks, labels


def _lines(sheet: Sheet, rows: Rows, x: Any, y: Any) -> Any:
    return (
        sheet.chart(rows)
        .mark_line(strokeWidth=1.75)
        .encode(
            x=x,
            y=y,
            detail="strategy:N",
            color=plain("color"),
            strokeDash=dashed("dash"),
            description="trial:N",
        )
    )


def progress(findings: Findings, description: str) -> Drawing | None:
    """Every completed trial, the best so far as steps, and the baselines near them."""
    done = findings.best_first()
    if not done:
        return None
    rules, scale = reference_rules(findings), progress_scale(findings)
    last = max(t.number for t in findings.trials)
    span = max(last + 0.6, 1.0)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[-0.6, span], nice=False),
        axis=alt.Axis(title="trial", grid=False, format="d", tickMinStep=1),
    )
    y = scale.y(title=value_title(findings))
    points = [
        row_of(t.strategy, t.number, x=t.number, y=t.objective)
        for t in sorted(done, key=lambda trial: trial.strategy)
    ]
    sheet = Sheet()
    at = clipped(points, scale)
    chart = _reference(sheet, rules, scale, span) + _steps(
        sheet, at, last, x, y, higher_is_better=findings.objective.higher_is_better
    )
    size, opacity = (36, 1.0) if len(points) <= _CROWD else (18, 0.6)
    chart = chart + dots(sheet, inside(points, scale), x, y, size, opacity)
    chart = chart + arrows(sheet, points, x, y, scale)
    if findings.last_useful_trial is not None and len(done) > 1:
        last = findings.last_useful_trial
        chart = chart + vertical_rule(sheet, x, last, "last gain", strokeWidth=1)
    title = f"Best {words.on_validation(findings.objective)} so far, by trial"
    return sheet.draw(chart, (_STEP_WIDTH, HEIGHT), title, description, wide=True)


def progress_scale(findings: Findings) -> Scale:
    """The vertical axis of ``progress``: most trials, and the baselines in their reach."""
    rules = (rule["y"] for rule in reference_rules(findings))
    return focus([*_values(findings), *rules], higher_is_better=findings.objective.higher_is_better)


def _values(findings: Findings) -> list[float]:
    return [t.objective for t in findings.trials if t.objective is not None]


def reference_rules(findings: Findings) -> list[dict[str, Any]]:
    """Baselines whose figure is near most trials', so that the axis is not stretched."""
    metric, values = findings.objective, _values(findings)
    scale = focus(values, higher_is_better=metric.higher_is_better)
    near = [metric.worse(value) for value in values if not scale.off(value)]
    top = max(near) + 0.25 * (max(near) - min(near) or abs(max(near)))
    bottom = min(near) - 0.5 * abs(min(near))
    return [
        {"y": baseline.objective, "label": baseline.title}
        for baseline in findings.baselines
        if baseline.objective is not None and bottom <= metric.worse(baseline.objective) <= top
    ]


def line_labels(rules: Rows, scale: Scale) -> list[dict[str, Any]]:
    """The labels of lines, from the top; one for lines that are too close for two."""
    labels: list[dict[str, Any]] = []
    for rule in sorted(rules, key=lambda rule: -scale.place(rule["y"])):
        if labels and scale.place(labels[-1]["y"]) - scale.place(rule["y"]) < LABEL_PIXELS / HEIGHT:
            labels[-1]["label"] += f", {rule['label']}"
        else:
            labels.append(dict(rule))
    return labels


def _reference(sheet: Sheet, rules: Rows, scale: Scale, span: float) -> Any:
    labels = [{**label, "x": span} for label in line_labels(rules, scale)]
    y = alt.Y("y:Q", scale=scale.altair())
    lines = sheet.chart(rules).mark_rule(strokeDash=[2, 3], strokeWidth=1, color=MUTED).encode(y=y)
    style = {"align": "right", "dx": -2, "fontSize": 11, "color": MUTED}
    return lines + end_labels(sheet, labels, "x:Q", scale, HEIGHT, up=6, **style)


def _steps(
    sheet: Sheet,
    points: list[dict[str, Any]],
    last: int,
    x: Any,
    y: Any,
    *,
    higher_is_better: bool,
) -> Any:
    best = "max(y)" if higher_is_better else "min(y)"
    return (
        sheet.chart([*points, {"x": last}])
        .mark_line(interpolate="step-after", strokeWidth=1.5, color=INK)
        .transform_window(best=best, frame=[None, 0], sort=[alt.SortField("x")])
        .transform_calculate(y="datum.best")
        .encode(x=x, y=y)
    )
