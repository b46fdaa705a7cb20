"""Did training behave? Validation loss by optimizer step, every trial that reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from sweeper.findings import words
from sweeper.findings.record import CurvePoint, Findings, TrialRow
from sweeper.reporting.blocks import Panel
from sweeper.reporting.charts.draw import INK, Sheet, plain, shaped
from sweeper.reporting.charts.scales import Scale, dodge, fit
from sweeper.reporting.charts.search import loss_title
from sweeper.reporting.palette import look

# Above this many curves, the best and a sample of each strategy are drawn.
MOST_CURVES = 600
_WIDTH = 880
_HEIGHT = 340
_PRUNED = [3, 3]
_GAP = 14 / _HEIGHT


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


def curves(findings: Findings, description: str) -> Panel | None:
    """All curves: best of each strategy thick with its training loss thin, others faint."""
    trials = drawn_trials(findings)
    best = {s.best_trial for s in findings.strategies if s.best_trial is not None}
    values = _values(trials, best)
    if not values:
        return None
    steps = [p.optimizer_steps for t in trials for p in t.curve]
    by_tokens = _batches_differ(trials)
    across = [p.tokens for t in trials for p in t.curve] if by_tokens else steps
    x_scale, y_scale = fit(across, log=False, pad=0.0), fit(values)
    x_scale = Scale(0.0, x_scale.high, log=False)
    x = alt.X(
        "x:Q",
        scale=x_scale.altair(),
        axis=x_scale.axis(
            format="~s" if by_tokens else ",d",
            grid=False,
            title="tokens trained on" if by_tokens else "optimizer step",
        ),
    )
    y = alt.Y(
        "y:Q",
        scale=y_scale.altair(),
        axis=y_scale.axis(title=loss_title(findings)),
    )
    sheet = Sheet()
    chart = _faint(sheet, [t for t in trials if t.number not in best], by_tokens, x, y)
    chart = chart + _ends(sheet, trials, by_tokens, x, y)
    chart = chart + _best(sheet, [t for t in trials if t.number in best], by_tokens, x, y, y_scale)
    chart = chart.properties(width=_WIDTH, height=_HEIGHT)
    return Panel(sheet.draw(chart, "Validation loss during training", description), wide=True)


def _values(trials: Sequence[TrialRow], best: set[int]) -> list[float]:
    found = [p.validation_loss for t in trials for p in t.curve if p.validation_loss is not None]
    train = [
        p.train_loss
        for t in trials
        if t.number in best
        for p in t.curve
        if p.train_loss is not None and p.train_loss > 0
    ]
    return [*found, *train] if found else []


def _batches_differ(trials: Sequence[TrialRow]) -> bool:
    """Whether trials of one budget took different numbers of steps."""
    return len({t.curve[-1].optimizer_steps // max(1, t.curve[-1].rung) for t in trials}) > 1


def _at(point: CurvePoint, by_tokens: bool) -> int:
    return point.tokens if by_tokens else point.optimizer_steps


def _rows(trials: Sequence[TrialRow], by_tokens: bool, field: str) -> list[dict[str, Any]]:
    return [
        {
            "x": _at(point, by_tokens),
            "y": getattr(point, field),
            "color": look(trial.strategy).color,
            "dash": _PRUNED if trial.state == "PRUNED" else list(look(trial.strategy).dash),
            "trial": str(trial.number),
        }
        for trial in trials
        for point in trial.curve
    ]


def _line(sheet: Sheet, rows: list[dict[str, Any]], x: Any, y: Any, **style: Any) -> Any:
    return (
        sheet.chart(rows)
        .mark_line(invalid="break-paths-filter-domains", **style)
        .encode(
            x=x,
            y=y,
            detail="trial:N",
            color=plain("color"),
            strokeDash=alt.StrokeDash("dash:N", scale=None),
            description="trial:N",
        )
    )


def _faint(sheet: Sheet, trials: Sequence[TrialRow], by_tokens: bool, x: Any, y: Any) -> Any:
    opacity = 0.45 if len(trials) < 100 else 0.25
    return _line(
        sheet, _rows(trials, by_tokens, "validation_loss"), x, y, strokeWidth=1, opacity=opacity
    )


def _ends(sheet: Sheet, trials: Sequence[TrialRow], by_tokens: bool, x: Any, y: Any) -> Any:
    """A tick where a trial was pruned, an x where its loss was no longer finite."""
    ticks, crosses = [], []
    for trial in trials:
        known = [p for p in trial.curve if p.validation_loss is not None]
        if not known:
            continue
        row = {
            "x": _at(known[-1], by_tokens),
            "y": known[-1].validation_loss,
            "color": look(trial.strategy).color,
            "trial": str(trial.number),
        }
        if trial.state == "PRUNED":
            ticks.append(row)
        elif trial.state == "FAIL":
            crosses.append(row)
    tick = (
        sheet.chart(ticks)
        .mark_tick(orient="vertical", thickness=1.5, size=9, opacity=0.9)
        .encode(x=x, y=y, color=plain("color"), description="trial:N")
    )
    cross = (
        sheet.chart(crosses)
        .mark_point(filled=False, shape="M-1,-1L1,1M1,-1L-1,1", size=60, strokeWidth=1.75)
        .encode(x=x, y=y, color=plain("color"), description="trial:N")
    )
    return tick + cross


def _best(
    sheet: Sheet, trials: Sequence[TrialRow], by_tokens: bool, x: Any, y: Any, y_scale: Scale
) -> Any:
    """Thick lines with their training loss, an end mark and a label each."""
    lines = _line(sheet, _rows(trials, by_tokens, "validation_loss"), x, y, strokeWidth=2.5)
    train = [
        row | {"dash": [1, 0]}
        for row in _rows(trials, by_tokens, "train_loss")
        if row["y"] is not None and row["y"] > 0
    ]
    thin = _line(sheet, train, x, y, strokeWidth=0.75)
    ended = [(t, p) for t in trials if (p := t.curve[-1]).validation_loss is not None]
    places = dodge([y_scale.place(p.validation_loss or 0.0) for _, p in ended], _GAP)
    rows = [
        {
            "x": _at(point, by_tokens),
            "y": point.validation_loss,
            "pixel": (1 - place) * _HEIGHT,
            "color": look(trial.strategy).color,
            "shape": look(trial.strategy).shape,
            "label": f"{words.short(trial.strategy)} #{trial.number}",
            "trial": str(trial.number),
        }
        for (trial, point), place in zip(ended, places, strict=True)
    ]
    points = (
        sheet.chart(rows)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=plain("color"), shape=shaped("shape"), description="trial:N")
    )
    text = (
        sheet.chart(rows)
        .mark_text(align="left", dx=8, baseline="middle", color=INK)
        .encode(x=x, y=alt.Y("pixel:Q", scale=None, axis=None), text="label:N")
    )
    return thin + lines + points + text
