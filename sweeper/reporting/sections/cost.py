"""What does quality cost? All trials and baselines, and each default against the best found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import altair as alt

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Gain, Interval, NextStep
from sweeper.findings.study.paired_trials import ComparedPairs
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.strategy_figures import (
    best_of,
    default_best_comparisons,
    default_of,
    strategies_of,
    value_interval,
)
from sweeper.findings.verdict.next_step import twice_the_trials
from sweeper.reporting.blocks import (
    Block,
    Column,
    Drawing,
    Empty,
    Figure,
    Number,
    Table,
    existing_panels,
    strategy_cell,
    with_json_pointers,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.cost_quality import Cost, cost_panel, measure_cost, quality_scale
from sweeper.reporting.charts.scales import Scale, fit
from sweeper.reporting.document import Report
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import BaselineResult

# Width of the plot area from default to best, in pixels.
_SLOPE_WIDTH = 230
# A search whose best trial is among the last quarter of its trials has not settled.
_LATE_SHARE = 0.75

HEADING = Heading(20, "cost", "Cost against quality")


class SearchGain(Gain):
    """A strategy's default against its best trial, by the objective.

    ``default`` and ``best`` are means over all trainings of these trials, and ``gain`` is their
    difference.
    """

    strategy: StrategyOnModel
    default_trial: int | None
    best_trial: int | None
    default: Interval | None = None
    best: Interval | None = None
    default_seeds: int = 1
    best_seeds: int = 1


class Figures(Record):
    """Every strategy's gain, in the plan's order."""

    gains: tuple[SearchGain, ...]


def compute(run: RunFiles, findings: Findings) -> Figures:
    """Each strategy's default, compared with its best trial."""
    pairs = default_best_comparisons(run)
    return Figures(gains=tuple(_gain(run, strategy, pairs) for strategy in strategies_of(run)))


def _gain(run: RunFiles, strategy: StrategyOnModel, pairs: ComparedPairs) -> SearchGain:
    best, default = best_of(run, strategy), default_of(run, strategy)
    completed = default if default is not None and default.completed else None
    comparison = pairs.of(completed, best) if completed and best else None
    return SearchGain(
        strategy=strategy,
        default_trial=default.config.number if default else None,
        best_trial=best.config.number if best else None,
        default=value_interval(completed, seeds=True) if completed else None,
        best=value_interval(best, seeds=True) if best else None,
        default_seeds=len(completed.trainings()) if completed else 1,
        best_seeds=len(best.trainings()) if best else 1,
        **(comparison.gain(run.margin) if comparison else {}),
    )


def advise(figures: Figures, findings: Findings) -> NextStep | None:
    """Advise more trials if the search gained beyond noise and still improved at its end."""
    run, last_gain = findings.run, findings.last_gain
    trial = findings.recommended
    gain = next((g for g in figures.gains if trial and g.strategy == trial.strategy), None)
    if run.search_ended or last_gain is None or last_gain + 1 <= _LATE_SHARE * run.ended:
        return None
    if gain is None or gain.gain is None or gain.outcome != "better":
        return None
    metric = findings.objective
    gain_text = f"{words.amount(gain.gain, metric)} {metric.unit}".rstrip()
    verb = "raised" if metric.higher_is_better else "lowered"
    reason = (
        f"The search gained {gain_text} over the default, and trial {last_gain}, one of the last "
        f"of {run.ended}, still {verb} the best {metric.title.removeprefix('validation ')}."
    )
    return twice_the_trials(findings, reason)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A figure of all trials by cost, and of each default against the best trial."""
    yield _nothing_to_compare(report) or _figure(figures, report)


def _nothing_to_compare(report: Report) -> Empty | None:
    """A block with the reason if fewer than two trials have completed, else None."""
    run, completed = report.findings.run, report.findings.best_first()
    if len(completed) > 1:
        return None
    if completed:
        metric = report.findings.objective
        value = words.score_with_unit(completed[0].value, metric)
        text = f"One trial completed ({words.on_validation(metric)} {value}): nothing to compare."
        return Empty("one-trial", text)
    if run.ended == 0:
        return Empty("no-trials", "No trial has ended yet.")
    if run.failed == run.ended:
        return Empty("all-failed", "Every trial failed: the section on failures says why.")
    return Empty("none-completed", "No trial has completed yet, so there is no final loss.")


def _figure(figures: Figures, report: Report) -> Figure:
    findings = report.findings
    finding, trials = search_sentence(figures, findings), findings.best_first()
    memory, limit = report.plan.memory_name, report.plan.memory_limit_gib
    costs = [
        Cost(
            title=f"{report.plan.time_unit} a trial",
            name="time",
            values={t.number: t.seconds / 60 for t in trials if t.seconds},
            baselines={b.name: b.seconds / 60 for b in findings.baselines if b.seconds > 0},
        ),
        Cost(
            title=f"peak {memory} (GiB)",
            name="memory",
            values={t.number: t.result.peak_memory_gib for t in trials if t.result.peak_memory_gib},
            limit=limit,
            limit_label=f"{memory}: {units.gib(limit)}",
        ),
        *map(measure_cost, findings.measures.values()),
    ]
    drawn_costs = [(cost.name, cost_panel(findings, cost, finding)) for cost in costs]
    scale = quality_scale(findings)
    outside_baselines = [
        f"{b.title} {words.score(b.objective, findings.objective)}"
        for b in findings.baselines
        if b.objective is not None and scale.off(b.objective)
    ]
    note = "Large: best of a strategy. Stepped line: no trial is both cheaper and better."
    note += f" Off the chart: {units.joined(outside_baselines)}." if outside_baselines else ""
    return Figure(
        id="cost-quality",
        finding=finding,
        note=note + draw.off_scale_sentence(findings, trials, scale),
        options=tuple((name, panel) for name, panel in drawn_costs if panel is not None),
        panels=existing_panels(slope(figures, findings, finding)),
        legend=draw.legend([s.strategy for s in findings.strategies if s.best_trial is not None]),
        tables=(
            _gain_table(figures, findings),
            *([_baseline_table(report)] if findings.baselines else ()),
        ),
    )


def search_sentence(figures: Figures, findings: Findings) -> str:
    """The gain of the search over the default of the best trial's strategy, with its interval."""
    trial = findings.best
    gain = next((g for g in figures.gains if trial and g.strategy == trial.strategy), None)
    if gain is None:
        return "No trial completed."
    name = words.sentence(words.strategy(gain.strategy))
    if gain.gain is None or gain.outcome is None:
        if gain.best_trial == gain.default_trial:
            score = words.on_validation(findings.objective)
            return f"{name} has the best {score}, and none of its trials beat its default."
        return f"{name}: there is no completed default to compare the best trial with."
    gap = words.better_by(gain.gain, findings.objective)
    text = f"{name}, best found against default: {gap}"
    if gain.outcome == "better":
        return f"{text}."
    enough_sentence = "" if gain.lacking else _enough_sentence(gain, findings)
    return f"{text}, {_outcome(gain, findings.margin)}.{enough_sentence}"


def _enough_sentence(gain: SearchGain, findings: Findings) -> str:
    """A sentence that the default is enough, and why the best trial is recommended all the same."""
    verdict = findings.verdict
    if verdict.recommended_baseline or verdict.recommended_trial != gain.best_trial:
        return " The default would have been enough."
    reason = "it was ahead of its default when the finalists were chosen"
    if findings.finalist(gain.default_trial):
        reason = "no finalist close to the best is clearly cheaper to train"
    return (
        f" The default would have been enough; trial {gain.best_trial} is recommended because "
        f"{reason}."
    )


def _gain_table(figures: Figures, findings: Findings) -> Table:
    metric = findings.objective
    unit, score = words.column_unit(metric), partial(words.score, metric=metric)
    columns: list[Column[SearchGain]] = [
        Column.of("strategy", "/strategy", strategy_cell),
        Number.of("default", "/default/value", score, unit),
        Number.of("best found", "/best/value", score, unit),
        Number.of("best trial", "/best_trial", "#{}".format),
        Number("seeds", lambda g: f"{g.default_seeds} and {g.best_seeds}"),
        Number(
            "gain",
            lambda g: words.amount(g.gain, metric) if g.gain else words.DASH,
            "/gain/value",
            metric.unit,
        ),
        Number(
            "95% CI", lambda g: words.interval_ends(g.gain, metric) or words.DASH, "", metric.unit
        ),
        Column("best against default", lambda g: _outcome(g, findings.margin), "/outcome"),
    ]
    return Table.of(
        "gains",
        f"Default against best found, {words.on_validation(metric)} ({metric.direction_in_words})",
        columns,
        with_json_pointers(figures.gains, "/sections/cost/gains"),
        trial=lambda g: g.best_trial,
        note="A positive gain is an improvement. Means over all seeds of a trial. The best was "
        "chosen on these items, so its gain looks too large; figures of the test split do not "
        "have this bias.",
    )


def _outcome(gain: SearchGain, margin: float) -> str:
    """The outcome of the best trial against the default; a dash if they were not compared."""
    if gain.outcome:
        return words.outcome(gain, margin)
    is_same = gain.best_trial is not None and gain.best_trial == gain.default_trial
    return "the default is the best" if is_same else words.DASH


def _baseline_table(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns: list[Column[BaselineResult]] = [
        Column.of("baseline", "/title"),
        Number.of("validation loss", "/validation_loss", words.number, findings.loss_unit),
    ]
    if metric.name != "loss":
        title = f"validation {metric.title}"
        columns.append(Number(title, lambda b: words.score(b.metrics.get(metric.name), metric)))
    columns += [
        Number(
            f"test {metric.title}",
            lambda b: words.score(_test_figure(findings, b.name), metric),
            unit=words.column_unit(metric),
        ),
        Number.of("time", "/seconds", words.number, "s"),
        Column("note", lambda b: b.note or words.DASH, "/note"),
    ]
    caption = "Baselines: models to beat, without fine-tuning"
    return Table.of(
        "baselines", caption, columns, with_json_pointers(findings.baselines, "/findings/baselines")
    )


def _test_figure(findings: Findings, name: str) -> float | None:
    """A baseline's test figure of the headline metric."""
    model, metric = findings.tested_model(name), findings.metric
    if model is None or metric.name == "loss":
        return model.test_loss.value if model and model.test_loss else None
    return model.metrics.get(metric.name)


def slope(figures: Figures, findings: Findings, description: str) -> Drawing | None:
    """A chart with a line from default to best for each strategy, and 95% intervals."""
    gains = [gain for gain in figures.gains if gain.best is not None]
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
    title = "Default against best found, means over seeds"
    return sheet.draw(chart, (_SLOPE_WIDTH, draw.HEIGHT), title, description)


def _ends(gain: SearchGain) -> list[tuple[float, Interval, int | None]]:
    """(x, value, trial number) of the default (x = 0) and of the best (x = 1)."""
    ends = [(0.0, gain.default, gain.default_trial), (1.0, gain.best, gain.best_trial)]
    return [(x, interval, trial) for x, interval, trial in ends if interval is not None]


def _slope_rows(
    gains: list[SearchGain], scale: Scale
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the lines, of the marks at their ends, and of the labels."""
    lines, marks, labels = [], [], []
    for index, gain in enumerate(gains):
        # Shifted, so that whiskers of several strategies do not overlap.
        shift = (index - (len(gains) - 1) / 2) * min(0.08, 0.32 / len(gains))
        for x, interval, trial in _ends(gain):
            position = {"x": x + shift, "y": interval.value, **draw.clipped_ends(interval, scale)}
            mark = draw.row_of(gain.strategy, trial, strategy=gain.strategy, **position)
            marks.append(mark)
            lines.append({**mark, "trial": str(gain.best_trial)})
        label = f"{words.short(gain.strategy)} #{gain.best_trial}"
        labels.append({"x": 1.27, "y": gain.best.value if gain.best else 0.0, "label": label})
    return lines, marks, labels
