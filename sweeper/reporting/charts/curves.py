"""Did training behave? Validation loss by optimizer step, every trial that reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.record import CurvePoint, Findings, TrialRow
from sweeper.reporting.blocks import Drawing
from sweeper.reporting.charts.draw import (
    INK,
    PAPER,
    Sheet,
    arrows,
    dashed,
    dots,
    end_labels,
    inside,
    plain,
    row_of,
    shaped,
)
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.palette import look

# Above this many curves, the best and a sample of each strategy are drawn.
MOST_CURVES = 600
_WIDTH = 880
_HEIGHT = 340
_PRUNED = [3, 3]
_TRAINING = [1, 2]


def drawn_trials(findings: Findings) -> tuple[TrialRow, ...]:
    """The trials whose curves are drawn: all, or the best and every k-th of each strategy."""
    trials = [t for t in findings.trials if t.curve]
    if len(trials) <= MOST_CURVES:
        return tuple(trials)
    best = {s.best_trial for s in findings.strategies}
    ordered = sorted(trials, key=lambda t: (t.strategy, t.number))
    every = math.ceil(len(ordered) / (MOST_CURVES - len(best)))
    kept = {t.number for t in ordered[::every]} | best
    return tuple(t for t in trials if t.number in kept)


@dataclass(frozen=True)
class _Axes:
    """What the layers of the chart share: its sheet, its axes, and what runs along them."""

    sheet: Sheet
    x: Any
    y: Any
    scale: Scale
    by_tokens: bool

    def at(self, point: CurvePoint) -> int:
        return point.tokens if self.by_tokens else point.optimizer_steps


def curves(findings: Findings, description: str) -> Drawing | None:
    """All curves: best of each strategy thick with its training loss thin, others faint."""
    trials = drawn_trials(findings)
    best = {s.best_trial for s in findings.strategies if s.best_trial is not None}
    y_scale = curve_scale(findings)
    if y_scale is None:
        return None
    steps = [p.optimizer_steps for t in trials for p in t.curve]
    by_tokens = _batches_differ(trials)
    across = [p.tokens for t in trials for p in t.curve] if by_tokens else steps
    x_scale = Scale(0.0, fit(across, log=False, pad=0.0).high, log=False)
    title = "tokens trained on" if by_tokens else "optimizer step"
    x = x_scale.x(format="~s" if by_tokens else ",d", grid=False, title=title)
    y = y_scale.y(title=f"validation loss, {findings.loss_unit} (lower is better)")
    axes = _Axes(Sheet(), x, y, y_scale, by_tokens)
    chart = _faint(axes, [t for t in trials if t.number not in best]) + _ends(axes, trials)
    chart = chart + _best(axes, [t for t in trials if t.number in best])
    title = "Validation loss during training"
    return axes.sheet.draw(chart, (_WIDTH, _HEIGHT), title, description, wide=True)


def curve_scale(findings: Findings) -> Scale | None:
    """The vertical axis: the validation losses of all trials but those that end far above the rest.

    Training losses do not widen it.
    """
    losses = [[p.validation_loss for p in t.curve] for t in drawn_trials(findings)]
    known = [kept for trial in losses if (kept := [loss for loss in trial if loss is not None])]
    if not known:
        return None
    last = focus([trial[-1] for trial in known])
    return fit([loss for trial in known if trial[-1] <= last.high for loss in trial])


def _batches_differ(trials: Sequence[TrialRow]) -> bool:
    """Whether trials of one budget took different numbers of steps."""
    return len({t.curve[-1].optimizer_steps // max(1, t.curve[-1].rung) for t in trials}) > 1


def _rows(axes: _Axes, trials: Sequence[TrialRow], field: str) -> list[dict[str, Any]]:
    """The points of each curve, cut off where it leaves the axis."""
    rows = []
    for trial in trials:
        own = row_of(trial.strategy, trial.number)
        own |= {"dash": _PRUNED} if trial.state == "PRUNED" else {}
        points = [(float(axes.at(point)), getattr(point, field)) for point in trial.curve]
        rows += [{"x": x, "y": y, **own} for x, y in cut(points, axes.scale)]
    return rows


Point = tuple[float, float | None]


def cut(points: Sequence[Point], scale: Scale) -> list[Point]:
    """A line without what lies off the axis; it ends where it meets an edge.

    >>> cut([(0, 8.0), (1, 0.0)], Scale(0.0, 4.0, log=False))
    [(0.5, 4.0), (1, 0.0)]
    """
    found: list[Point] = []
    for number, (x, y) in enumerate(points):
        if y is None or (scale.log and y <= 0):
            found.append((x, None))
            continue
        before = points[number - 1] if number else (x, None)
        if before[1] is not None and not (scale.log and before[1] <= 0):
            start, end = scale.place(before[1]), scale.place(y)
            edges = [edge for edge in (0.0, 1.0) if min(start, end) < edge < max(start, end)]
            for edge in sorted(edges, reverse=start > end):
                share = (edge - start) / (end - start)
                found.append((before[0] + share * (x - before[0]), scale.value(edge)))
        if scale.low <= y <= scale.high:
            found.append((x, y))
        elif found and found[-1][1] is not None:
            found.append((x, None))
    return found


def _line(axes: _Axes, rows: list[dict[str, Any]], **style: Any) -> Any:
    return (
        axes.sheet.chart(rows)
        .mark_line(invalid="break-paths-filter-domains", **style)
        .encode(
            x=axes.x,
            y=axes.y,
            detail="trial:N",
            color=plain("color"),
            strokeDash=dashed("dash"),
            description="trial:N",
        )
    )


def _faint(axes: _Axes, trials: Sequence[TrialRow]) -> Any:
    opacity = 0.45 if len(trials) < 100 else 0.25
    return _line(axes, _rows(axes, trials, "validation_loss"), strokeWidth=1, opacity=opacity)


def _ends(axes: _Axes, trials: Sequence[TrialRow]) -> Any:
    """A tick where a trial was pruned, an x where its loss was no longer finite, an arrow where it
    ended above the axis."""
    ends: dict[str, list[dict[str, Any]]] = {"PRUNED": [], "FAIL": []}
    for trial in trials:
        known = [p for p in trial.curve if p.validation_loss is not None]
        if known:
            ends.setdefault(trial.state, []).append(_sign(axes, trial, known[-1]))
    look_ = {"x": axes.x, "y": axes.y, "color": plain("color"), "description": "trial:N"}
    ticks = axes.sheet.chart(inside(ends["PRUNED"], axes.scale)).mark_tick(
        orient="vertical", thickness=1.5, size=9, opacity=0.9
    )
    crosses = axes.sheet.chart(inside(ends["FAIL"], axes.scale)).mark_point(
        filled=False, shape="M-1,-1L1,1M1,-1L-1,1", size=60, strokeWidth=1.75
    )
    beyond = arrows(
        axes.sheet, [row for of in ends.values() for row in of], axes.x, axes.y, axes.scale
    )
    return ticks.encode(**look_) + crosses.encode(**look_) + beyond


def _best(axes: _Axes, trials: Sequence[TrialRow]) -> Any:
    """Thick lines with their training loss, their strategy's sign at each rung and a label each.

    Solid lines come first, so that a dashed one shows what lies under it.
    """
    sheet, x, y, scale = axes.sheet, axes.x, axes.y, axes.scale
    trials = sorted(trials, key=lambda t: look(t.strategy).dash != (1, 0))
    lines = _line(axes, _rows(axes, trials, "validation_loss"), strokeWidth=2.5)
    train = [row | {"dash": _TRAINING} for row in _rows(axes, trials, "train_loss")]
    thin = _line(axes, train, strokeWidth=1)
    signs = [
        _sign(axes, trial, point)
        for trial in trials
        for point in trial.curve[:-1]
        if point.validation_loss is not None
    ]
    small = (
        sheet.chart(inside(signs, scale))
        .mark_point(filled=True, size=28, opacity=1, stroke=PAPER, strokeWidth=0.75)
        .encode(x=x, y=y, fill=alt.Fill("color:N", scale=None), shape=shaped("shape"))
    )
    ends = [
        _sign(axes, trial, trial.curve[-1], label=f"{words.short(trial.strategy)} #{trial.number}")
        for trial in trials
        if trial.curve[-1].validation_loss is not None
    ]
    points = dots(sheet, inside(ends, scale), x, y, 60)
    text = end_labels(sheet, ends, x, scale, _HEIGHT, dx=8, color=INK)
    return thin + lines + small + points + text


def _sign(axes: _Axes, trial: TrialRow, point: CurvePoint, **more: Any) -> dict[str, Any]:
    at = {"x": axes.at(point), "y": point.validation_loss}
    return row_of(trial.strategy, trial.number, **at, **more)
