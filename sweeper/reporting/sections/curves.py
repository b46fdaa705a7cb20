"""Did training behave? Curves, and the time that pruning saved."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import RunFiles, TrialFiles, finite_value
from sweeper.reporting.blocks import (
    Block,
    Column,
    Drawing,
    Figure,
    LegendEntry,
    Number,
    Table,
    Text,
    existing_panels,
    strategy_cell,
    style_of,
    with_json_pointers,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.document import Report
from sweeper.trials import RungReport, Trial

# With more curves, only the best and a sample of each strategy are drawn.
MAX_CURVES = 600
# Size of the plot area, in pixels.
_WIDTH, _HEIGHT = 880, 340
# Dashes of the lines of pruned trials, and of training losses.
_PRUNED_DASH = [3, 3]
_TRAINING_DASH = [1, 2]

HEADING = Heading(60, "curves", "Curves")


class Figures(Record):
    """Figures of pruning, and the number of items that score a rung."""

    saved_seconds: float | None = Field(
        None, description="training time that pruned trials did not use"
    )
    median_prune_step: int | None = Field(None, description="optimizer steps")
    rung_items: int | None = Field(None, description="validation items scored below the last rung")


def compute(run: RunFiles, findings: Findings) -> Figures:
    """Figures of pruning, from the rungs of pruned trials."""
    pruned = [trial for trial in run.trials if trial.result.state == "PRUNED"]
    steps = [trial.result.optimizer_steps for trial in pruned]
    return Figures(
        saved_seconds=math.fsum(map(_saved_seconds, pruned)) if pruned else None,
        median_prune_step=round(statistics.median(steps)) if steps else None,
        rung_items=max((trial.config.budget.rung_items for trial in run.trials), default=None),
    )


def _saved_seconds(trial: TrialFiles) -> float:
    """Seconds that the remaining rungs of a pruned trial would have taken at its pace."""
    if not trial.rungs:
        return 0.0
    last_report = trial.rungs[-1]
    used_seconds = last_report.seconds
    remaining_share = trial.config.budget.rungs / last_report.rung - 1
    return max(0.0, used_seconds * remaining_share) if math.isfinite(used_seconds) else 0.0


def finding(figures: Figures, report: Report) -> str:
    """Whether the best trials overfitted, and what pruning saved."""
    if not any(t.rungs for t in report.findings.trials):
        return ""
    run = report.findings.run
    saved = figures.saved_seconds
    saving = f", which saved {units.duration(saved)}" if saved is not None else ""
    return f"{_finding_sentence(report)} {units.plural(run.pruned, 'trial')} pruned{saving}."


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """The learning curves of the trials, and a text on pruning."""
    findings = report.findings
    caption = _finding_sentence(report)
    if panels := existing_panels(curves(findings, caption)):
        strategies = dict.fromkeys(t.strategy for t in findings.trials if t.rungs)
        symbols = (
            LegendEntry("pruned", "", "┆"),
            LegendEntry("failed", "", "✕"),
            LegendEntry("training loss of the best (dotted)", "", "┈"),
        )
        yield Figure(
            id="learning-curves",
            finding=caption,
            note=_note(report, figures.rung_items),
            panels=panels,
            legend=draw.legend(list(strategies), *symbols),
            tables=(_table(report),),
        )
    if sentences := _pruning_sentences(figures, report):
        yield Text(sentences)


def _finding_sentence(report: Report) -> str:
    """Whether the validation losses of the best trials rose again, or trials diverged."""
    findings = report.findings
    best_trials = [t for t in findings.trials if t.number in findings.best_trials and t.rungs]
    noise = _noise(findings)
    rising_trials = [t for t in best_trials if t.losses and t.losses[-1] - min(t.losses) > noise]
    failures = [t.result.failure for t in findings.trials if t.result.failure]
    divergences = [failure for failure in failures if failure.kind == "diverged"]
    if rising_trials:
        trials = units.joined(
            [f"trial {t.number} after rung {t.result.best_rung}" for t in rising_trials]
        )
        return f"Validation loss rose again, beyond noise: {trials}."
    if divergences and best_trials:
        diverged = units.plural(len(divergences), "trial")
        return f"{diverged} diverged; the best of each strategy did not."
    if best_trials:
        return "The validation loss of none of the best trials rose again beyond noise."
    if findings.run.ended and findings.run.failed == findings.run.ended:
        return "No trial completed: these are the curves until each of them failed."
    return "No trial has completed yet. The chart shows the curves so far."


def _noise(findings: Findings) -> float:
    """Twice the standard deviation between the seeds of a finalist; infinite if unknown."""
    losses = [[seed.validation_loss for seed in finalist.seeds] for finalist in findings.finalists]
    variances = [statistics.variance(seeds) for seeds in losses if len(seeds) > 1]
    return 2 * math.sqrt(statistics.fmean(variances)) if variances else math.inf


def _note(report: Report, items: int | None) -> str:
    trials = [t for t in report.findings.trials if t.rungs]
    drawn = drawn_trials(report.findings)
    text = (
        "Thick: the best of each strategy, its training loss dotted. Dashed: pruned, ending in a "
        "tick. An x: the trial failed."
    )
    rows = report.findings.reproduction.split_rows
    if items and items < rows.get("validation", 0):
        text += (
            f" All rungs but the last use {items:,} of {rows['validation']:,} validation items, "
        )
        text += "the same ones in every trial."
    text += _off_range_sentence(report)
    if len(drawn) < len(trials):
        text += f" {len(drawn):,} of {len(trials):,} curves are drawn: the best and a sample of "
        text += "each strategy; curves.csv has all."
    return text


def _off_range_sentence(report: Report) -> str:
    """A sentence on the curves that leave the drawn range; empty if none does."""
    scale, trials = curve_scale(report.findings), drawn_trials(report.findings)
    if scale is None:
        return ""
    cut_curves = sum(any(loss > scale.high for loss in trial.losses) for trial in trials)
    count_text = units.plural(cut_curves, "curve leaves", "curves leave")
    return (
        f" {count_text} the drawn range at its top; an arrow marks those that end there."
        if cut_curves
        else ""
    )


def _table(report: Report) -> Table:
    """A table of the best trials' curves; curves.csv has all curves."""
    unit = report.findings.loss_unit
    best = report.findings.best_trials
    columns: list[Column[tuple[Trial, RungReport]]] = [
        Number("trial", lambda row: f"#{row[0].number}"),
        Column("strategy", lambda row: strategy_cell(row[0].strategy)),
        Number("rung", lambda row: str(row[1].rung), "/rung"),
        Number("optimizer steps", lambda row: f"{row[1].optimizer_steps:,}", "/optimizer_steps"),
        Number("tokens", lambda row: f"{row[1].tokens:,}", "/tokens"),
        Number(
            "validation loss",
            lambda row: words.number(row[1].validation_loss),
            "/validation_loss",
            unit,
        ),
        Number("training loss", lambda row: words.number(row[1].train_loss), "/train_loss", unit),
    ]
    rows = [
        (pointer, (trial, point))
        for parent, trial in with_json_pointers(report.findings.trials, "/findings/trials")
        if trial.number in best
        for pointer, point in with_json_pointers(trial.rungs, f"{parent}/rungs")
    ]
    caption = "The curves of the best trials (all of them: curves.csv)"
    return Table.of("curve-points", caption, columns, rows, trial=lambda row: row[0].number)


def _pruning_sentences(figures: Figures, report: Report) -> tuple[str, ...]:
    run = report.findings.run
    if not run.pruned:
        return ("No trial was pruned.",) if run.ended else ()
    by_objective, metric = report.plan.objective.at_rungs, report.findings.objective
    title = words.on_validation(metric) if by_objective else "validation loss"
    parts = [f"{units.plural(run.pruned, 'trial')} pruned on {title}"]
    if figures.median_prune_step is not None:
        verb = "at" if run.pruned == 1 else "half of them by"
        parts.append(f"{verb} optimizer step {figures.median_prune_step:,}")
    if figures.saved_seconds is not None:
        parts.append(f"which saved {units.duration(figures.saved_seconds)} of training")
    return (", ".join(parts) + ".", "Pruned trials have no final score.")


def drawn_trials(findings: Findings) -> tuple[Trial, ...]:
    """The trials whose curves are drawn: all of them, or the best and a sample of each strategy."""
    trials = [t for t in findings.trials if t.rungs]
    if len(trials) <= MAX_CURVES:
        return tuple(trials)
    best = findings.best_trials
    sorted_trials = sorted(trials, key=lambda t: (t.strategy, t.number))
    stride = math.ceil(len(sorted_trials) / (MAX_CURVES - len(best)))
    numbers = {t.number for t in sorted_trials[::stride]} | best
    return tuple(t for t in trials if t.number in numbers)


@dataclass(frozen=True)
class _Axes:
    """What all layers of the chart share: the sheet, which collects their data, and the axes."""

    sheet: draw.Sheet
    x: Any
    y: Any
    scale: Scale
    by_tokens: bool

    def x_value(self, point: RungReport) -> int:
        return point.tokens if self.by_tokens else point.optimizer_steps


def curves(findings: Findings, description: str) -> Drawing | None:
    """The chart of all curves: best of each strategy thick with its training loss, others faint."""
    trials = drawn_trials(findings)
    best = findings.best_trials
    y_scale = curve_scale(findings)
    if y_scale is None:
        return None
    steps = [p.optimizer_steps for t in trials for p in t.rungs]
    # With different batches, trials have different numbers of steps up to a rung.
    by_tokens = len({t.rungs[-1].optimizer_steps // max(1, t.rungs[-1].rung) for t in trials}) > 1
    x_values = [p.tokens for t in trials for p in t.rungs] if by_tokens else steps
    x_scale = Scale(0.0, fit(x_values, log=False, pad=0.0).high, log=False)
    title = "tokens trained on" if by_tokens else "optimizer step"
    x = x_scale.x(format="~s" if by_tokens else ",d", grid=False, title=title)
    y = y_scale.y(title=f"validation loss, {findings.loss_unit} (lower is better)")
    axes = _Axes(draw.Sheet(), x, y, y_scale, by_tokens)
    other_trials = [t for t in trials if t.number not in best]
    opacity = 0.45 if len(other_trials) < 100 else 0.25
    other_lines = _line(
        axes, _rows(axes, other_trials, "validation_loss"), strokeWidth=1, opacity=opacity
    )
    best_curves = _best_curves(axes, [t for t in trials if t.number in best])
    chart = alt.layer(other_lines, *_end_symbols(axes, trials), *best_curves)
    title = "Validation loss during training"
    return axes.sheet.draw(chart, (_WIDTH, _HEIGHT), title, description, wide=True)


def curve_scale(findings: Findings) -> Scale | None:
    """The vertical axis, without trials that end far above the rest; None without losses.

    Training losses may be outside.
    """
    curves = [trial.losses for trial in drawn_trials(findings) if trial.losses]
    if not curves:
        return None
    end_scale = focus([losses[-1] for losses in curves])
    return fit([loss for losses in curves if losses[-1] <= end_scale.high for loss in losses])


def _rows(axes: _Axes, trials: Sequence[Trial], field: str) -> list[dict[str, Any]]:
    """Rows with the points of each curve, cut where it leaves the axis."""
    rows = []
    for trial in trials:
        style = draw.row_of(trial.strategy, trial.number)
        style |= {"dash": _PRUNED_DASH} if trial.result.state == "PRUNED" else {}
        values = [finite_value(getattr(report, field)) for report in trial.rungs]
        points = [*zip(map(axes.x_value, trial.rungs), values, strict=True)]
        rows += [{"x": x, "y": y, **style} for x, y in cut(points, axes.scale)]
    return rows


Point = tuple[float, float | None]


def cut(points: Sequence[Point], scale: Scale) -> list[Point]:
    """A line without its parts beyond the axis: each part ends at the edge, followed by y = None.

    >>> cut([(0, 8.0), (1, 0.0)], Scale(0.0, 4.0, log=False))
    [(0.5, 4.0), (1, 0.0)]
    """
    line: list[Point] = []
    for number, (x, y) in enumerate(points):
        if y is None or (scale.log and y <= 0):
            line.append((x, None))
            continue
        previous = points[number - 1] if number else (x, None)
        if previous[1] is not None and not (scale.log and previous[1] <= 0):
            start, end = scale.place(previous[1]), scale.place(y)
            edges = [edge for edge in (0.0, 1.0) if min(start, end) < edge < max(start, end)]
            for edge in sorted(edges, reverse=start > end):
                share = (edge - start) / (end - start)
                line.append((previous[0] + share * (x - previous[0]), scale.value(edge)))
        if scale.low <= y <= scale.high:
            line.append((x, y))
        elif line and line[-1][1] is not None:
            line.append((x, None))
    return line


def _line(axes: _Axes, rows: list[dict[str, Any]], **style: Any) -> Any:
    """A line for each trial, interrupted where y is None."""
    gap_mode = "break-paths-filter-domains"
    return draw.lines(axes.sheet, rows, axes.x, axes.y, invalid=gap_mode, **style)


def _end_symbols(axes: _Axes, trials: Sequence[Trial]) -> tuple[Any, ...]:
    """A tick at the end of a pruned curve, an x of a failed one, an arrow of one above the axis."""
    ends: dict[str, list[dict[str, Any]]] = {"PRUNED": [], "FAIL": []}
    for trial in trials:
        points = [p for p in trial.rungs if math.isfinite(p.validation_loss)]
        if points:
            ends.setdefault(trial.result.state, []).append(_point_row(axes, trial, points[-1]))
    encoding = {"x": axes.x, "y": axes.y, "color": draw.COLOR, "description": draw.TRIAL}
    ticks = axes.sheet.chart(draw.inside(ends["PRUNED"], axes.scale)).mark_tick(
        orient="vertical", thickness=1.5, size=9, opacity=0.9
    )
    crosses = axes.sheet.chart(draw.inside(ends["FAIL"], axes.scale)).mark_point(
        filled=False, shape="M-1,-1L1,1M1,-1L-1,1", size=60, strokeWidth=1.75
    )
    arrows = draw.arrows(
        axes.sheet,
        [row for end_rows in ends.values() for row in end_rows],
        axes.x,
        axes.y,
        axes.scale,
    )
    return ticks.encode(**encoding), crosses.encode(**encoding), arrows


def _best_curves(axes: _Axes, trials: Sequence[Trial]) -> tuple[Any, ...]:
    """The best trials: thick lines with training loss, symbols at rungs, and labels.

    Solid lines are drawn first, since they are visible through the gaps of dashed ones.
    """
    sheet, x, y, scale = axes.sheet, axes.x, axes.y, axes.scale
    trials = sorted(trials, key=lambda t: style_of(t.strategy).dash != (1, 0))
    validation_lines = _line(axes, _rows(axes, trials, "validation_loss"), strokeWidth=2.5)
    training_rows = [row | {"dash": _TRAINING_DASH} for row in _rows(axes, trials, "train_loss")]
    training_lines = _line(axes, training_rows, strokeWidth=1)
    rung_points = [
        _point_row(axes, trial, point)
        for trial in trials
        for point in trial.rungs[:-1]
        if math.isfinite(point.validation_loss)
    ]
    rung_symbols = (
        sheet.chart(draw.inside(rung_points, scale))
        .mark_point(filled=True, size=28, opacity=1, stroke=draw.PAPER, strokeWidth=0.75)
        .encode(x=x, y=y, fill=alt.Fill("color:N", scale=None), shape=draw.SHAPE)
    )
    ends = [
        _point_row(
            axes, trial, trial.rungs[-1], label=f"{words.short(trial.strategy)} #{trial.number}"
        )
        for trial in trials
        if math.isfinite(trial.rungs[-1].validation_loss)
    ]
    points = draw.dots(sheet, draw.inside(ends, scale), x, y, 60)
    text = draw.end_labels(sheet, ends, x, scale, _HEIGHT, dx=8, color=draw.INK)
    return training_lines, validation_lines, rung_symbols, points, text


def _point_row(axes: _Axes, trial: Trial, point: RungReport, **more: Any) -> dict[str, Any]:
    position = {"x": axes.x_value(point), "y": point.validation_loss}
    return draw.row_of(trial.strategy, trial.number, **position, **more)
