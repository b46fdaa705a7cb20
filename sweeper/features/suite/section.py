"""The report's section on the suite: how scores of finalists differ from those of their bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study import trained_changes
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.trained_changes import TaskChange
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
    style_of,
    with_json_pointers,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit
from sweeper.reporting.document import Report
from sweeper.trials import GENERAL

_WIDTH = 380
# Pixels for a task with one mark, and for each further mark.
_BAND_PIXELS, _LINE_PIXELS = 34, 16


HEADING = Heading(91, "suite", "Other tasks")


class Figures(Record):
    """The changes of scores on tasks; ``limit_points`` is the largest allowed loss, if any."""

    tasks: tuple[TaskChange, ...]
    limit_points: float | None = None
    recommended_trial: int | None = None

    def of(self, trial: int) -> list[TaskChange]:
        """The tasks that a trial was scored on."""
        return [task for task in self.tasks if task.trial == trial]

    @property
    def shown_trial(self) -> int:
        """The recommended trial, else the first that was scored."""
        scored = [task.trial for task in self.tasks]
        trial = self.recommended_trial
        return trial if trial is not None and trial in scored else scored[0]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """The changes of every scored trial on the tasks; None if there are none."""
    tasks = trained_changes.task_changes(run)
    limits = (100 * limit.most for limit in run.limits if limit.holds_for(GENERAL))
    if not tasks:
        return None
    return Figures(
        tasks=tasks,
        limit_points=next(limits, None),
        recommended_trial=findings.verdict.recommended_trial,
    )


def finding(figures: Figures, report: Report) -> str:
    """A sentence on the losses of the shown trial."""
    return _finding(figures, figures.shown_trial)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A chart of base and tuned model, and one of the loss of each trial."""
    trial = figures.shown_trial
    finding = _finding(figures, trial)
    strategies = list(dict.fromkeys(task.strategy for task in figures.tasks))
    pair = dumbbell(figures.of(trial), finding)
    note = f"Left: scores of the base and of trial {trial}. Right: the" if pair else "The"
    note += (
        " loss of every scored trial, with 95% intervals over items of one training each; the "
        "recommended trial is filled. The unit is points (hundredths of the items) where answers "
        "are right or wrong, and nats per token on text (0.01 is about 1% more perplexity)."
    )
    partial_tasks = [task.task for task in figures.of(trial) if task.items < task.total_items]
    if partial_tasks:
        note += f" Scored on a part of the items: {units.joined(partial_tasks)}."
    yield Figure(
        id="tasks",
        finding=finding,
        note=note,
        panels=existing_panels(pair, points_lost(figures, finding)),
        legend=draw.legend(strategies, LegendEntry("base model", "", "○")),
        tables=(_table(figures),),
    )
    sentences = [trained_changes.noise_sentence(figures.tasks, trial)]
    if report.findings.verdict.recommended_trial not in (None, trial):
        sentences.append(
            f"The recommended trial {report.findings.verdict.recommended_trial} was not scored."
        )
    yield Text(tuple(filter(None, sentences)))


def _finding(figures: Figures, trial: int) -> str:
    tasks = figures.of(trial)
    lost = [task for task in tasks if task.outcome == "lost"]
    if lost:
        losses = [f"{t.task} {trained_changes.lost(t.lost, t.unit)}" for t in lost]
        return f"Trial {trial} lost more than noise explains: {units.joined(losses)}."
    task_count = units.plural(len(tasks), "task")
    unresolved = [task for task in tasks if task.outcome == "unresolved"]
    if not unresolved:
        return f"Trial {trial} kept what the base model could do on {task_count}."
    if len(unresolved) == len(tasks):
        return f"Within noise: whether trial {trial} lost anything on {task_count} is open."
    task_names = units.joined([task.task for task in unresolved])
    return f"No loss of trial {trial} beyond noise; left open by these items: {task_names}."


def _outcome(task: TaskChange) -> str:
    if not task.more_items:
        return task.outcome
    return f"{task.outcome}; {words.more(task.more_items)} would settle it"


COLUMNS: tuple[Column[TaskChange], ...] = (
    Column("trial", lambda t: f"#{t.trial} {words.short(t.strategy)}"),
    Column("task", lambda t: f"{t.task}, {trained_changes.scored_on(t)}"),
    Column("scored by", lambda t: f"{t.metric}, {t.harness}"),
    Number("shots", lambda t: words.DASH if t.shots is None else str(t.shots)),
    Number("items", lambda t: str(t.items), "/items"),
    Number("base", lambda t: trained_changes.score_text(t, t.base)),
    Number("tuned", lambda t: trained_changes.score_text(t, t.tuned)),
    Number("lost", lambda t: trained_changes.amount(t.lost.value, t.unit)),
    Number("95% CI", lambda t: trained_changes.interval_text(t.lost, t.unit)),
    Number("detectable", lambda t: trained_changes.amount(t.detectable_points, t.unit)),
    Column("unit of these", lambda t: t.unit),
    Column("against the margin", _outcome),
)


def _table(figures: Figures) -> Table:
    return Table.of(
        "task-table",
        "Base against tuned on the same items; a negative loss is a gain",
        COLUMNS,
        with_json_pointers(figures.tasks, "/sections/suite/tasks"),
        trial=lambda t: t.trial,
    )


def dumbbell(tasks: Sequence[TaskChange], description: str) -> Drawing | None:
    """A chart of base (hollow) and tuned (filled) on tasks scored in points; None if none is."""
    scored = [task for task in tasks if task.unit == "points"]
    if not scored:
        return None
    ends = [100 * end.value for task in scored for end in (task.base, task.tuned)]
    scale = fit(ends, log=False, pad=0.15)
    x = _axis(scale, "score, % (higher is better)")
    sheet, rows = draw.Sheet(), []
    for task in scored:
        scores = {"base": 100 * task.base.value, "tuned": 100 * task.tuned.value}
        fill = style_of(task.strategy).color
        rows.append(draw.row_of(task.strategy, task.trial, task=task.task, fill=fill, **scores))
    y = _bands(padding=0.4)
    connecting_lines = (
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
    size = _WIDTH, _BAND_PIXELS * len(scored) + 10
    return sheet.draw(
        connecting_lines + base + tuned, size, "Base and tuned score by task", description
    )


def points_lost(figures: Figures, description: str) -> Drawing | None:
    """A chart of the loss of every scored trial, with 95% intervals, zero and the limit."""
    if not figures.tasks:
        return None
    names = list(dict.fromkeys(task.task for task in figures.tasks))
    groups = [[t for t in figures.tasks if t.task == name] for name in names]
    limit = figures.limit_points
    shown_values = [0.0] + ([limit] if limit is not None else [])
    for task in figures.tasks:
        shown_values += task.lost.ends
    scale = fit(shown_values, log=False)
    max_trials = max(len(group) for group in groups)
    height = len(names) * (_BAND_PIXELS + _LINE_PIXELS * (max_trials - 1)) + 10
    x = _axis(scale, "lost: points, or 0.01 nats/token (lower is better)")
    sheet, rows = draw.Sheet(), []
    for group in groups:
        for index, task in enumerate(group):
            offset = (index - (len(group) - 1) / 2) * _LINE_PIXELS
            rows.append(_lost_row(task, offset, scale, figures.recommended_trial))
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
    is_recommended = task.trial == recommended
    return draw.row_of(
        task.strategy,
        task.trial,
        task=task.task,
        offset=offset,
        lost=task.lost.value,
        fill=style_of(task.strategy).color if is_recommended else draw.PAPER,
        size=110 if is_recommended else 50,
        **draw.clipped_ends(task.lost, scale),
    )


def _axis(scale: Scale, title: str) -> Any:
    def x(field: str) -> Any:
        axis = scale.axis(5, title=title, grid=True)
        return alt.X(f"{field}:Q", scale=scale.altair(), axis=axis)

    return x


def _bands(**scale: Any) -> Any:
    axis = alt.Axis(title=None, domain=False, ticks=False, labelLimit=130, labelColor=draw.INK)
    # Unsorted: tasks keep the order of their first rows.
    return alt.Y("task:N", sort=None, scale=alt.Scale(**scale), axis=axis)
