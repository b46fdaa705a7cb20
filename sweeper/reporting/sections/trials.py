"""What ran? A table and a chart of all trials.

The section computes no figures of its own, so ``figures`` is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import altair as alt

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Metric
from sweeper.findings.study.reading import loss_note
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Drawing,
    Figure,
    Number,
    Table,
    Text,
    strategy_cell,
    with_json_pointers,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.cost_quality import trial_scale
from sweeper.reporting.document import Report
from sweeper.trials import Trial

# States in words, in the order of the table.
_STATE_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "interrupted",  # it waits for its next attempt
}
_STATES = tuple(_STATE_WORDS)

# Size of the plot area, in pixels.
_WIDTH, _HEIGHT = 880, 200
# With more trials, marks are smaller and translucent.
_MAX_LARGE_MARKS = 120

HEADING = Heading(110, "trials", "Trials")


def finding(figures: None, report: Report) -> str:
    """The number of trials by state, and the trial that last improved the best value."""
    run, last_gain = report.findings.run, report.findings.last_gain
    if not report.findings.trials:
        return ""
    text = f"{run.complete} complete, {run.pruned} pruned, {run.failed} failed"
    text += f"; the last gain came with trial {last_gain}" if last_gain is not None else ""
    return f"{text}; {run.search_ended}." if run.search_ended else f"{text}."


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """A chart of the best value by trial, what more trials may bring, and a table of all trials."""
    if (panel := progress(report.findings)) is not None:
        scale = trial_scale(report.findings)
        yield Figure(
            id="progress",
            finding=f"{panel.title}.",
            note="Every completed trial; steps: the best so far."
            + draw.off_scale_sentence(report.findings, report.findings.trials, scale),
            panels=(panel,),
            legend=draw.legend([*dict.fromkeys(t.strategy for t in report.findings.best_first())]),
        )
    if outlook := report.findings.run.outlook:
        yield Text((f"{words.sentence(outlook)}.",))
    yield _table(report)


def progress(findings: Findings) -> Drawing | None:
    """A chart of all completed trials, with the best value so far as steps."""
    completed, metric = findings.best_first(), findings.objective
    if len(completed) < 2:
        return None
    scale, last_trial = trial_scale(findings), max(t.number for t in findings.trials)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[-0.6, last_trial + 0.6], nice=False),
        axis=alt.Axis(title="trial", grid=False, format="d", tickMinStep=1),
    )
    y = scale.y(4, title=draw.value_title(findings))
    points = [
        draw.row_of(t.strategy, t.number, x=t.number, y=t.value)
        for t in sorted(completed, key=lambda trial: trial.strategy)
    ]
    sheet = draw.Sheet()
    best = "max(y)" if metric.higher_is_better else "min(y)"
    steps = sheet.chart([*draw.clipped(points, scale), {"x": last_trial}])
    chart = (
        steps.mark_line(interpolate="step-after", strokeWidth=1.5, color=draw.INK)
        .transform_window(best=best, frame=[None, 0], sort=[alt.SortField("x")])
        .transform_calculate(y="datum.best")
        .encode(x=x, y=y)
    )
    size, opacity = (36, 1.0) if len(points) <= _MAX_LARGE_MARKS else (18, 0.6)
    chart = chart + draw.dots(sheet, draw.inside(points, scale), x, y, size, opacity)
    chart = chart + draw.arrows(sheet, points, x, y, scale)
    if findings.last_gain is not None:
        chart = chart + draw.vertical_rule(sheet, x, findings.last_gain, "last gain", strokeWidth=1)
    title = f"Best {words.on_validation(metric)} so far, by trial"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, title, wide=True)


def _table(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns: list[Column[Trial]] = [
        Number.of("trial", "/config/number"),
        Column.of("strategy", "/config/strategy", strategy_cell),
        Column.of(
            "state",
            "/result/state",
            lambda state: Cell(_STATE_WORDS[state], css=f"st-{_STATE_WORDS[state]}"),
        ),
        Number.of("validation loss", "/result/validation_loss", words.number, findings.loss_unit),
    ]
    if metric.name != "loss":
        score = partial(words.score, metric=metric)
        columns.append(Number.of(metric.title, f"/result/metrics/{metric.name}", score))
    columns += [
        Number.of("learning rate", "/config/parameters/learning_rate", words.value),
        Column("other searched parameters", lambda t: _other_parameters(report, t)),
        Number("steps", _steps),
        Number("time", lambda t: words.minutes(t.seconds), unit=report.plan.time_unit),
        Number.of("peak", "/result/peak_memory_gib", words.number, "GiB"),
        Column("remark", _remark),
    ]
    states = [state for state in _STATES if any(t.result.state == state for t in findings.trials)]
    return Table.of(
        "trial-table",
        f"{units.plural(len(findings.trials), 'trial')}, best first",
        columns,
        sorted(
            with_json_pointers(findings.trials, "/findings/trials"),
            key=lambda entry: _sort_key(entry[1], findings.objective),
        ),
        trial=lambda t: t.number,
        sortable=True,
        strategies=tuple(dict.fromkeys(words.short(t.strategy) for t in findings.trials)),
        states=tuple(_STATE_WORDS[state] for state in states),
        note=f"Validation figures; trials are compared by {findings.objective.title}, "
        f"{findings.objective.direction_in_words}. trials.csv has every parameter.",
    )


def _sort_key(trial: Trial, metric: Metric) -> tuple[int, float, int]:
    value = float("inf") if trial.value is None else metric.as_cost(trial.value)
    return (_STATES.index(trial.result.state), value, trial.number)


def _other_parameters(report: Report, trial: Trial) -> str:
    values = report.plan.searched_values(trial)
    values.pop("learning_rate", None)
    return words.configuration(values) or words.DASH


def _steps(trial: Trial) -> str:
    return f"{trial.rungs[-1].optimizer_steps:,}" if trial.rungs else words.DASH


def _remark(trial: Trial) -> str:
    remarks, result = [], trial.result
    if trial.config.origin != "search":
        remarks.append("default" if trial.config.origin == "default" else "named by you")
    if note := loss_note(trial):
        remarks.append(note)
    if result.stopped_at_rung is not None:
        rung_note = f", kept rung {result.best_rung}" if result.best_rung else ""
        remarks.append(
            f"stopped at rung {result.stopped_at_rung}{rung_note}: {result.stopped_because}"
        )
    if result.base is not None:
        made = ", made in this trial" if result.preparing_seconds else ""
        remarks.append(f"trained on {result.base.folder}{made}")
    if trial.attempts > 1:
        remarks.append(f"attempt {trial.attempts}")
    return "; ".join(remarks)
