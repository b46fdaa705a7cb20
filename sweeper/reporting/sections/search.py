"""Did the search beat the default, and what do baselines reach?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.record import Findings, SearchGain
from sweeper.reporting.blocks import Block, Column, Drawing, Figure, Number, Table, placed
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import (
    drawn,
    interval_text,
    nothing_to_compare,
    number_text,
    off_scale,
    strategy_cell,
    trial_number,
)
from sweeper.trials import BaselineResult

_SLOPE_WIDTH = 300
_STEP_WIDTH = 600
# Above this many trials, marks are smaller and let each other show through.
_CROWD = 120


@section(20, "search", "Search", "Did the search beat the default?")
def search_section(report: Report) -> Iterator[Block]:
    """Default against best, best so far, baselines."""
    yield nothing_to_compare(report) or _figure(report)
    if report.findings.baselines:
        yield _baselines(report)


def _figure(report: Report) -> Figure:
    findings = report.findings
    finding = search_sentence(report)
    shown = {rule["label"] for rule in reference_rules(findings)}
    beyond = [
        f"{b.title} {words.score(b.objective, findings.objective)}"
        for b in findings.baselines
        if b.objective is not None and b.title not in shown
    ]
    note = "Left: the default of each strategy and the best that the search found, with the 95% "
    note += f"interval over {_items(report)} validation items. Right: every completed trial and "
    note += "the best so far. The best was chosen on these items, so its gain looks too large; "
    note += "figures of the test split do not have this bias."
    if beyond:
        note += f" Off the chart: {units.joined(beyond)}."
    note += off_scale(findings, findings.trials, progress_scale(findings))
    strategies = [g.strategy for g in findings.gains if g.best_value is not None]
    return Figure(
        id="search-gain",
        finding=finding,
        note=note,
        panels=drawn(slope(findings, finding), progress(findings, finding)),
        legend=draw.legend(strategies),
        table=_gains(report),
    )


def search_sentence(report: Report) -> str:
    """The gain of the search over the defaults, with its interval."""
    findings = report.findings
    best = min(
        (g for g in findings.gains if g.best_value is not None),
        key=lambda g: findings.objective.worse(g.best_value or 0.0),
        default=None,
    )
    if best is None:
        return "No trial completed."
    name = words.sentence(words.strategy(best.strategy))
    if best.gain is None or best.outcome is None:
        if best.best_trial == best.default_trial:
            score = words.on_validation(findings.objective)
            return f"{name} has the best {score}, and none of its trials beat its default."
        return f"{name}: there is no completed default to compare the best trial with."
    metric = findings.objective
    gap = words.difference(best.gain, metric)
    pairing = words.minus_of("default", "best found", metric)
    if best.outcome == "better":
        word = metric.direction.split()[0]
        return f"{name}: {pairing} = {gap}, a {word} {words.bare(metric)} than the default's."
    told = _outcome(best, findings.margin_points)
    ending = "" if best.lacking else " The default would have been enough."
    return f"{name}: {pairing} = {gap}: {told}.{ending}"


def _items(report: Report) -> str:
    rows = report.findings.reproduction.split_rows.get("validation")
    return f"{rows:,}" if rows else "the"


def _gains(report: Report) -> Table:
    findings, metric = report.findings, report.findings.objective
    unit = words.column_unit(metric)
    again = any(max(g.default_seeds or 1, g.best_seeds or 1) > 1 for g in findings.gains)
    columns: list[Column[SearchGain]] = [
        Column("strategy", lambda g: strategy_cell(g.strategy), "/strategy"),
        Number(
            "default",
            lambda g: words.score(g.default_value, metric, g.default_interval),
            "/default_value",
            unit,
        ),
        Number(
            "best found",
            lambda g: words.score(g.best_value, metric, g.best_interval),
            "/best_value",
            unit,
        ),
        Number("best trial", lambda g: trial_number(g.best_trial), "/best_trial"),
    ]
    if again:
        columns += [
            Number(
                "default, mean over seeds",
                lambda g: _mean(g.default_mean, g.default_seeds, g.gain, metric),
                "/default_mean",
                unit,
            ),
            Number(
                "best, mean over seeds",
                lambda g: _mean(g.best_mean, g.best_seeds, g.gain, metric),
                "/best_mean",
                unit,
            ),
        ]
    columns += [
        Number(
            f"{words.minus_of('default', 'best', metric)}{', means' if again else ''}",
            lambda g: words.amount(g.gain, metric) if g.gain else words.DASH,
            "/gain/value",
            metric.unit,
        ),
        Number("95% CI", lambda g: interval_text(g.gain, metric), "", metric.unit),
        Column("best against default", lambda g: _outcome(g, findings.margin_points), "/outcome"),
    ]
    note = "The columns default and best found show one training each, that of the search. If "
    note += "either was trained again, the difference is that of the means over all seeds of both."
    return Table.of(
        "gains",
        f"Default against best found, {words.on_validation(metric)} ({metric.direction})",
        columns,
        placed(findings.gains, "/findings/gains"),
        trial=lambda g: g.best_trial,
        note=note if again else "",
    )


def _outcome(gain: SearchGain, margin_points: float) -> str:
    if gain.outcome and gain.gain:
        smallest = margin_points / 100
        return words.outcome(gain.outcome, gain.gain, gain.comparisons, smallest, gain.lacking)
    same = gain.best_trial is not None and gain.best_trial == gain.default_trial
    return "the default is the best" if same else words.DASH


def _mean(mean: float | None, seeds: int | None, gain: Interval | None, metric: Metric) -> str:
    """A mean in the digits of the difference, so that the columns add up: ``0.099 (3 seeds)``."""
    if mean is None or seeds is None:
        return words.DASH
    return f"{words.score(mean, metric, gain)} ({units.plural(seeds, 'seed')})"


def _baselines(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns: list[Column[BaselineResult]] = [
        Column("baseline", lambda b: b.title, "/title"),
        Number(
            "validation loss",
            lambda b: words.loss(b.validation_loss),
            "/validation_loss",
            findings.loss_unit,
        ),
    ]
    if metric.name != "loss":
        title = f"validation {metric.title}"
        columns.append(Number(title, lambda b: words.score(b.metrics.get(metric.name), metric)))
    columns += [
        Number(
            f"test {metric.title}",
            lambda b: words.score(_test_figure(b, metric), metric),
            unit=words.column_unit(metric),
        ),
        Number("time", lambda b: number_text(b.seconds), "/seconds", "s"),
        Column("note", lambda b: b.note or words.DASH, "/note"),
    ]
    caption = "Baselines: models to beat, without fine-tuning"
    return Table.of(
        "baselines", caption, columns, placed(findings.baselines, "/findings/baselines")
    )


def _test_figure(baseline: BaselineResult, metric: Metric) -> float | None:
    loss = baseline.test_loss if metric.name == "loss" else None
    return baseline.test_metrics.get(metric.name, loss)


def slope(findings: Findings, description: str) -> Drawing | None:
    """Default to best, one line a strategy, with the 95% intervals of the items."""
    gains = [gain for gain in findings.gains if gain.best_value is not None]
    if not gains:
        return None
    ends = [end for gain in gains for end in _ends(gain)]
    scale = fit([value for _, interval, _ in ends for value in interval.ends])
    sheet = draw.Sheet()
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
    y = scale.y(title=draw.value_title(findings))
    chart = (
        draw.lines(sheet, rows, x, y, "strategy", strokeWidth=1.75)
        + draw.whiskers(sheet, marks, x, scale)
        + draw.dots(sheet, marks, x, y, 64)
        + draw.end_labels(sheet, labels, x, scale, draw.HEIGHT, color=draw.INK)
    )
    title = "Default against best found, by strategy"
    return sheet.draw(chart, (_SLOPE_WIDTH, draw.HEIGHT), title, description)


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
            at = {"x": x + shift, "y": interval.value, **draw.clipped_ends(interval, scale)}
            mark = draw.row_of(gain.strategy, trial, strategy=gain.strategy, **at)
            marks.append(mark)
            lines.append({**mark, "trial": str(gain.best_trial)})
        label = f"{words.short(gain.strategy)} #{gain.best_trial}"
        labels.append({"x": 1.27, "y": gain.best_value, "label": label})
    return lines, marks, labels


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
    y = scale.y(title=draw.value_title(findings))
    points = [
        draw.row_of(t.strategy, t.number, x=t.number, y=t.objective)
        for t in sorted(done, key=lambda trial: trial.strategy)
    ]
    sheet = draw.Sheet()
    at = draw.clipped(points, scale)
    chart = _reference(sheet, rules, scale, span) + _steps(
        sheet, at, last, x, y, higher_is_better=findings.objective.higher_is_better
    )
    size, opacity = (36, 1.0) if len(points) <= _CROWD else (18, 0.6)
    chart = chart + draw.dots(sheet, draw.inside(points, scale), x, y, size, opacity)
    chart = chart + draw.arrows(sheet, points, x, y, scale)
    if findings.last_useful_trial is not None and len(done) > 1:
        last = findings.last_useful_trial
        chart = chart + draw.vertical_rule(sheet, x, last, "last gain", strokeWidth=1)
    title = f"Best {words.on_validation(findings.objective)} so far, by trial"
    return sheet.draw(chart, (_STEP_WIDTH, draw.HEIGHT), title, description, wide=True)


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


def line_labels(rules: draw.Rows, scale: Scale) -> list[dict[str, Any]]:
    """The labels of lines, from the top; one for lines that are too close for two."""
    labels: list[dict[str, Any]] = []
    for rule in sorted(rules, key=lambda rule: -scale.place(rule["y"])):
        if (
            labels
            and scale.place(labels[-1]["y"]) - scale.place(rule["y"])
            < draw.LABEL_PIXELS / draw.HEIGHT
        ):
            labels[-1]["label"] += f", {rule['label']}"
        else:
            labels.append(dict(rule))
    return labels


def _reference(sheet: draw.Sheet, rules: draw.Rows, scale: Scale, span: float) -> Any:
    labels = [{**label, "x": span} for label in line_labels(rules, scale)]
    y = alt.Y("y:Q", scale=scale.altair())
    lines = (
        sheet.chart(rules).mark_rule(strokeDash=[2, 3], strokeWidth=1, color=draw.MUTED).encode(y=y)
    )
    style = {"align": "right", "dx": -2, "fontSize": 11, "color": draw.MUTED}
    return lines + draw.end_labels(sheet, labels, "x:Q", scale, draw.HEIGHT, up=6, **style)


def _steps(
    sheet: draw.Sheet,
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
        .mark_line(interpolate="step-after", strokeWidth=1.5, color=draw.INK)
        .transform_window(best=best, frame=[None, 0], sort=[alt.SortField("x")])
        .transform_calculate(y="datum.best")
        .encode(x=x, y=y)
    )
