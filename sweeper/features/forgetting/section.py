"""What did the model lose? Tasks that the training was not about, and loss on general text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from sweeper import units
from sweeper.features.forgetting._figures import (
    Figures,
    TrialForgetting,
    forgetting,
    limit_sentence,
    shown_trial,
    tasks_of,
)
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import Interval, NotMeasured
from sweeper.findings.record import Findings
from sweeper.findings.study.changes import (
    TaskChange,
    Unit,
    amount,
    figure,
    lost,
    noise_sentence,
    scored_on,
)
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import (
    Block,
    Column,
    Drawing,
    Figure,
    LegendEntry,
    Number,
    Table,
    Text,
    placed,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit
from sweeper.reporting.document import Report
from sweeper.reporting.palette import look
from sweeper.reporting.parts import drawn, strategy_cell

_MOST_TRIALS = 20
# Of losses on general text.
_UNIT: Unit = "nats/token"

_WIDTH = 380
# Height of one task with one mark; every further mark needs its own line.
_BAND, _LINE = 34, 16


HEADING = Heading(90, "forgetting", "Forgetting")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """What was lost, by task and by trial."""
    return forgetting(run, findings.verdict.recommended_trial)


def because(figures: Figures, findings: Findings) -> list[str]:
    """The best trial against the user's limit."""
    return list(filter(None, [limit_sentence(figures, findings.verdict.best_trial)]))


def finding(figures: Figures, report: Report) -> str:
    """What the trial that is shown lost on tasks, or what general text costs."""
    trial = shown_trial(figures)
    if trial is not None and figures.tasks:
        return _finding(figures, trial)
    return _front_finding(figures)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """Base against tuned by task; what each trial lost on general text."""
    yield from _tasks(report, figures)
    if figures.trials:
        yield _trial_table(report, figures)


def _tasks(report: Report, measured: Figures) -> Iterator[Block]:
    trial = shown_trial(measured)
    if not measured.tasks or trial is None:
        return
    finding = _finding(measured, trial)
    strategies = list(dict.fromkeys(task.strategy for task in measured.tasks))
    pair = dumbbell(tasks_of(measured, trial), finding)
    note = f"Left: scores of the base and of trial {trial}. Right: the" if pair else "The"
    note += (
        " loss of every scored trial, with 95% intervals over items of one training each; the "
        "recommended trial is filled. The unit is points (hundredths of the items) where answers "
        "are right or wrong, and nats per token on text (0.01 is about 1% more perplexity)."
    )
    subset = [task.task for task in tasks_of(measured, trial) if task.items < task.total_items]
    if subset:
        note += f" Scored on a part of the items: {units.joined(subset)}."
    yield Figure(
        id="forgetting-tasks",
        finding=finding,
        note=note,
        panels=drawn(pair, points_lost(measured, finding)),
        legend=draw.legend(strategies, LegendEntry("base model", "", "○")),
        tables=(_table(measured),),
    )
    sentences = [noise_sentence(measured.tasks, trial)]
    if report.findings.verdict.recommended_trial not in (None, trial):
        sentences.append(
            f"The recommended trial {report.findings.verdict.recommended_trial} was not scored."
        )
    yield Text(tuple(filter(None, sentences)))


def _finding(measured: Figures, trial: int) -> str:
    tasks = tasks_of(measured, trial)
    gone = [task for task in tasks if task.outcome == "lost"]
    if gone:
        losses = [f"{t.task} {lost(t.lost, t.unit)}" for t in gone]
        return f"Trial {trial} lost more than noise explains: {units.joined(losses)}."
    everything = units.plural(len(tasks), "task")
    unresolved = [task for task in tasks if task.outcome == "unresolved"]
    if not unresolved:
        return f"Trial {trial} kept what the base model could do on {everything}."
    if len(unresolved) == len(tasks):
        return f"Within noise: whether trial {trial} lost anything on {everything} is open."
    named = units.joined([task.task for task in unresolved])
    return f"No loss of trial {trial} beyond noise; left open by these items: {named}."


def _table(measured: Figures) -> Table:
    columns: list[Column[TaskChange]] = [
        Column("trial", lambda t: f"#{t.trial} {words.short(t.strategy)}"),
        Column("task", lambda t: f"{t.task}, {scored_on(t)}"),
        Column("scored by", lambda t: f"{t.metric}, {t.harness}"),
        Number("shots", lambda t: words.DASH if t.shots is None else str(t.shots)),
        Number("items", lambda t: str(t.items), "/items"),
        Number("base", lambda t: figure(t, t.base)),
        Number("tuned", lambda t: figure(t, t.tuned)),
        Number("lost", lambda t: amount(t.lost.value, t.unit)),
        Number("95% CI", lambda t: _ends(t.lost, t.unit)),
        Number("detectable", lambda t: amount(t.detectable_points, t.unit)),
        Column("unit of these", lambda t: t.unit),
        Column("against the margin", _outcome),
    ]
    return Table.of(
        "forgetting-table",
        "Base against tuned on the same items; a negative loss is a gain",
        columns,
        placed(measured.tasks, "/sections/forgetting/tasks"),
        trial=lambda t: t.trial,
    )


def _outcome(task: TaskChange) -> str:
    if not task.more_items:
        return task.outcome
    return f"{task.outcome}; {words.more(task.more_items)} would settle it"


def _front_finding(measured: Figures) -> str:
    by_number = {trial.trial: trial for trial in measured.trials}
    front = [by_number[number] for number in measured.front]
    if len(front) == 1:
        return f"Trial {front[0].trial} has the lowest loss on the task and on general text."
    first, last = front[0], front[-1]
    between = f" {units.plural(len(front) - 2, 'trial')} between them." if len(front) > 2 else ""
    return (
        f"On general text, trial {first.trial} is best ({_change(first)}). On the task, trial "
        f"{last.trial} is best ({_change(last)} on general text).{between}"
    )


def _change(trial: TrialForgetting) -> str:
    value = trial.forgetting.value
    return f"{amount(abs(value), _UNIT)} nats/token {'gained' if value < 0 else 'lost'}"


def _ends(interval: Interval, unit: Unit) -> str:
    if interval.low is None or interval.high is None:
        return words.DASH
    return f"{amount(interval.low, unit)} to {amount(interval.high, unit)}"


def _trial_table(report: Report, measured: Figures) -> Table:
    columns: list[Column[TrialForgetting]] = [
        Number("trial", lambda t: f"#{t.trial}"),
        Column("strategy", lambda t: strategy_cell(t.strategy)),
        Number("validation loss", lambda t: words.loss(t.task_loss), "", report.findings.loss_unit),
        Number("general text, base", lambda t: words.loss(t.general_loss_base), "", _UNIT),
        Number("general text, tuned", lambda t: words.loss(t.general_loss), "", _UNIT),
        Number("lost", lambda t: amount(t.forgetting.value, _UNIT), "", _UNIT),
        Number("95% CI", lambda t: _ends(t.forgetting, _UNIT), "", _UNIT),
        Column("front", lambda t: "yes" if t.trial in measured.front else ""),
    ]
    ordered = sorted(
        placed(measured.trials, "/sections/forgetting/trials"),
        key=lambda row: (row[1].trial not in measured.front, row[1].task_loss, row[1].trial),
    )
    return Table.of(
        "forgetting-trials",
        "Loss on the task and on general text, the front first",
        columns,
        ordered[:_MOST_TRIALS],
        trial=lambda t: t.trial,
        note=f"The first {_MOST_TRIALS} of {len(ordered)}." if len(ordered) > _MOST_TRIALS else "",
    )


def dumbbell(tasks: Sequence[TaskChange], description: str) -> Drawing | None:
    """Base (hollow) and tuned (filled) on each task that is right or wrong, joined by a line."""
    scored = [task for task in tasks if task.unit == "points"]
    if not scored:
        return None
    ends = [100 * end.value for task in scored for end in (task.base, task.tuned)]
    scale = fit(ends, log=False, pad=0.15)
    x = _axis(scale, "score, % (higher is better)")
    sheet, rows = draw.Sheet(), []
    for task in scored:
        scores = {"base": 100 * task.base.value, "tuned": 100 * task.tuned.value}
        fill = look(task.strategy).color
        rows.append(draw.row_of(task.strategy, task.trial, task=task.task, fill=fill, **scores))
    y = _bands(padding=0.4)
    joined = (
        sheet.chart(rows)
        .mark_rule(strokeWidth=1.5)
        .encode(x=x("base"), x2="tuned:Q", y=y, color=draw.COLOR, description="trial:N")
    )
    base = (
        sheet.chart(rows)
        .mark_point(
            size=90, opacity=1, shape="circle", fill=draw.PAPER, stroke=draw.INK, strokeWidth=1.5
        )
        .encode(x=x("base"), y=y, description="trial:N")
    )
    tuned = draw.marks(sheet, rows, x("tuned"), y, 90)
    size = _WIDTH, _BAND * len(scored) + 10
    return sheet.draw(joined + base + tuned, size, "Base and tuned score by task", description)


def points_lost(measured: Figures, description: str) -> Drawing | None:
    """What every trial that was scored lost, with 95% intervals, zero and the limit."""
    if not measured.tasks:
        return None
    names = list(dict.fromkeys(task.task for task in measured.tasks))
    groups = [[t for t in measured.tasks if t.task == name] for name in names]
    limit = measured.limit_points
    reach = [0.0] + ([limit] if limit is not None else [])
    for task in measured.tasks:
        reach += task.lost.ends
    scale = fit(reach, log=False)
    most = max(len(group) for group in groups)
    height = len(names) * (_BAND + _LINE * (most - 1)) + 10
    x = _axis(scale, "lost: points, or 0.01 nats/token (lower is better)")
    sheet, rows = draw.Sheet(), []
    for group in groups:
        for index, task in enumerate(group):
            offset = (index - (len(group) - 1) / 2) * _LINE
            rows.append(_lost_row(task, offset, scale, measured.recommended_trial))
    y, offset = _bands(type="point", padding=0.5), alt.YOffset("offset:Q", scale=None)
    chart = draw.vertical_rule(sheet, x("x"), 0.0, "no loss", at=-2)
    if limit is not None:
        chart = chart + draw.vertical_rule(
            sheet, x("x"), limit, f"limit {limit:g}", at=8, strokeDash=[4, 3]
        )
    ends = {"x": x("low"), "x2": "high:Q", "color": draw.COLOR, "description": "trial:N"}
    intervals = sheet.chart(rows).mark_rule(strokeWidth=1.5)
    size = alt.Size("size:Q", scale=None)
    chart = chart + intervals.encode(y=y, yOffset=offset, **ends)
    chart = chart + draw.marks(sheet, rows, x("lost"), y, size, yOffset=offset)
    return sheet.draw(chart, (_WIDTH, height), "What was lost, by task", description)


def _lost_row(
    task: TaskChange, offset: float, scale: Scale, recommended: int | None
) -> dict[str, Any]:
    marked = task.trial == recommended
    return draw.row_of(
        task.strategy,
        task.trial,
        task=task.task,
        offset=offset,
        lost=task.lost.value,
        fill=look(task.strategy).color if marked else draw.PAPER,
        size=110 if marked else 50,
        **draw.clipped_ends(task.lost, scale),
    )


def _axis(scale: Scale, title: str) -> Any:
    def x(field: str) -> Any:
        axis = scale.axis(5, title=title, grid=True)
        return alt.X(f"{field}:Q", scale=scale.altair(), axis=axis)

    return x


def _bands(**scale: Any) -> Any:
    axis = alt.Axis(title=None, domain=False, ticks=False, labelLimit=130, labelColor=draw.INK)
    # The first row's names decide the order, whatever the alphabet says.
    return alt.Y("task:N", sort=None, scale=alt.Scale(**scale), axis=axis)
