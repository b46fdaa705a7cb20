"""The report's section on what models lost on general text and other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.evaluation.task_scores import Unit
from sweeper.features.forgetting._general_data import TEXT
from sweeper.features.forgetting.options import Options
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, NotMeasured, front_of
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trained_changes import (
    TaskChange,
    amount,
    interval_text,
    lost,
    measure_points,
    task_changes,
)
from sweeper.reporting.blocks import Block, Column, Number, Table, strategy_cell, with_json_pointers
from sweeper.reporting.document import Report
from sweeper.traits.traits import StrategyOnModel

# Trials in the table.
_MAX_TRIALS_LISTED = 20
_LOSS_UNIT: Unit = "nats/token"


HEADING = Heading(90, "forgetting", "Forgetting")


class TrialForgetting(Record):
    """One completed trial's loss on the task, and on general text before and after training."""

    trial: int
    strategy: StrategyOnModel
    task_loss: float
    general_loss: float
    general_loss_base: float
    forgetting: Interval = Field(description="points: hundredths of a nat per token")


class Figures(Record):
    """What trials lost on general text.

    No other trial is better than one of ``front`` both on the task and on general text.
    """

    limit_points: float | None = None
    limit_sentence: str = Field("", description="the best trial against the limit")
    recommended_trial: int | None = None
    trials: tuple[TrialForgetting, ...] = ()
    front: tuple[int, ...] = ()


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """What was lost on general text, and the best trial against the user's limit."""
    measured = [_trial(run, trial) for trial in run.trials if trial.completed]
    trials = tuple(trial for trial in measured if trial is not None)
    tasks = task_changes(run)
    if not tasks and not trials:
        return _not_measured(run)
    limit = run.spec.features.of(Options).max_points if run.spec else None
    return Figures(
        limit_points=limit,
        limit_sentence=limit_sentence(limit, findings.verdict.best_trial, tasks, trials),
        recommended_trial=findings.verdict.recommended_trial,
        trials=trials,
        front=tuple(front_of((t.forgetting.value, t.task_loss, t.trial) for t in trials)),
    )


def because(figures: Figures, findings: Findings) -> list[str]:
    """A sentence on the best trial and the limit, if any."""
    return list(filter(None, [figures.limit_sentence]))


def finding(figures: Figures, report: Report) -> str:
    """A sentence on the best trials; empty if only tasks were scored."""
    if not figures.trials:
        return ""
    by_number = {trial.trial: trial for trial in figures.trials}
    front = [by_number[number] for number in figures.front]
    if len(front) == 1:
        return f"Trial {front[0].trial} has the lowest loss on the task and on general text."
    first, last = front[0], front[-1]
    note = f" {units.plural(len(front) - 2, 'trial')} between them." if len(front) > 2 else ""
    return (
        f"On general text, trial {first.trial} is best ({_change(first)}). On the task, trial "
        f"{last.trial} is best ({_change(last)} on general text).{note}"
    )


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A table of what each trial lost on general text."""
    columns: list[Column[TrialForgetting]] = [
        Number("trial", lambda t: f"#{t.trial}"),
        Column("strategy", lambda t: strategy_cell(t.strategy)),
        Number(
            "validation loss", lambda t: words.number(t.task_loss), "", report.findings.loss_unit
        ),
        Number("general text, base", lambda t: words.number(t.general_loss_base), "", _LOSS_UNIT),
        Number("general text, tuned", lambda t: words.number(t.general_loss), "", _LOSS_UNIT),
        Number("lost", lambda t: amount(t.forgetting.value, _LOSS_UNIT), "", _LOSS_UNIT),
        Number("95% CI", lambda t: interval_text(t.forgetting, _LOSS_UNIT), "", _LOSS_UNIT),
        Column("front", lambda t: "yes" if t.trial in figures.front else ""),
    ]
    ordered = sorted(
        with_json_pointers(figures.trials, "/sections/forgetting/trials"),
        key=lambda row: (row[1].trial not in figures.front, row[1].task_loss, row[1].trial),
    )
    yield Table.of(
        "forgetting-trials",
        "Loss on the task and on general text, the front first",
        columns,
        ordered[:_MAX_TRIALS_LISTED],
        trial=lambda t: t.trial,
        note=f"The first {_MAX_TRIALS_LISTED} of {len(ordered)}."
        if len(ordered) > _MAX_TRIALS_LISTED
        else "",
    )


def _change(trial: TrialForgetting) -> str:
    value = trial.forgetting.value
    return f"{amount(abs(value), _LOSS_UNIT)} nats/token {'gained' if value < 0 else 'lost'}"


def _not_measured(run: RunFiles) -> NotMeasured:
    facts = run.plan.facts
    if facts.task == "classification" and facts.classes_by == "head":
        return NotMeasured(
            reason="These models end in a classification head and write no text: there is no "
            "general capability to score. With --classes-by generate a model writes the class's "
            "name and keeps its own output layer."
        )
    return NotMeasured(
        reason="General capability was not scored before and after training, so this study cannot "
        "say what the model lost (docs/forgetting.md)."
    )


def _trial(run: RunFiles, trial: TrialFiles) -> TrialForgetting | None:
    result = trial.result
    measure, loss = result.measures.get(TEXT), result.validation_loss
    if measure is None or measure.base is None or loss is None:
        return None
    return TrialForgetting(
        trial=trial.config.number,
        strategy=trial.config.strategy,
        task_loss=loss,
        general_loss=measure.value,
        general_loss_base=measure.base,
        forgetting=measure_points(run, trial, TEXT),
    )


def limit_text(points: float) -> str:
    """The limit of ``--max-forgetting``, for a score and for a text.

    >>> limit_text(2.0)
    '2 points of a score, 0.02 nats/token of a text'
    """
    return f"{words.points(points)} of a score, {points / 100:g} nats/token of a text"


# Where a trial stands against the limit, in words.
_OVER, _NOISE_UNKNOWN = "above it beyond noise on", "above it, with unknown noise, on"
_WITHIN, _UNSETTLED = "within it on", "not settled on"
_OVER_WITHIN_NOISE = "above it within noise, which the gate lets pass, on"


def limit_sentence(
    limit: float | None,
    trial: int | None,
    tasks: Sequence[TaskChange],
    trials: Sequence[TrialForgetting],
) -> str:
    """A sentence on a trial and the limit; empty without a limit."""
    if limit is None or trial is None:
        return ""
    losses = [(task.task, task.lost, task.unit) for task in tasks if task.trial == trial]
    losses += [("general text", t.forgetting, _LOSS_UNIT) for t in trials if t.trial == trial]
    if not losses:
        return f"What trial {trial} lost was not measured, so the limit was not checked."
    names_by_standing: dict[str, list[str]] = {}
    for name, interval, unit in losses:
        standing = _standing(interval, limit)
        value = (
            f", {lost(interval, unit)}" if standing in (_NOISE_UNKNOWN, _OVER_WITHIN_NOISE) else ""
        )
        names_by_standing.setdefault(standing, []).append(f"{name}{value}")
    order = (_OVER, _NOISE_UNKNOWN, _WITHIN, _OVER_WITHIN_NOISE, _UNSETTLED)
    parts = [
        f"{standing} {units.joined(names_by_standing[standing])}"
        for standing in order
        if standing in names_by_standing
    ]
    return f"Limit of {limit_text(limit)}: trial {trial} is {', '.join(parts)}."


def _standing(interval: Interval, limit: float) -> str:
    if interval.low is not None and interval.low > limit:
        return _OVER
    if interval.high is not None and interval.high <= limit:
        return _WITHIN
    if interval.value <= limit:
        return _UNSETTLED
    return _NOISE_UNKNOWN if interval.low is None else _OVER_WITHIN_NOISE
