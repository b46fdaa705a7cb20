"""Sentences on forgetting, shared by terminal and report."""

from __future__ import annotations

from typing import Literal

from sweeper.findings import words
from sweeper.findings.figures import Interval, NotMeasured
from sweeper.findings.forgetting_record import Forgetting, GeneralTask
from sweeper.trials import within_limit

Unit = Literal["points", "nats/token"]


def figure(task: GeneralTask, score: Interval) -> str:
    """One model's score on a task: per cent, or a loss."""
    if task.unit == "points":
        return f"{100 * score.value:.1f}%"
    return words.loss(score.value, score)


def amount(points: float, unit: Unit) -> str:
    """The loss as a number: points of a score, or nats per token of a text.

    Args:
        points: Hundredths of the unit of a score or a loss, as findings hold them.

    >>> amount(2.5, "points"), amount(2.5, "nats/token")
    ('2.5', '0.025')
    """
    return words.minus(f"{points:.1f}" if unit == "points" else f"{points / 100:.3f}")


def lost(found: Interval, unit: Unit) -> str:
    """The loss with its unit and interval; a gain is negative.

    >>> lost(Interval(value=2.5, low=-1.0, high=6.04), "points")
    '2.5 points (−1.0 to 6.0)'
    >>> lost(Interval(value=2.5), "nats/token")
    '0.025 nats/token'
    """
    value = f"{amount(found.value, unit)} {unit}"
    if found.low is None or found.high is None:
        return value
    return f"{value} ({amount(found.low, unit)} to {amount(found.high, unit)})"


def limit_text(points: float) -> str:
    """The limit of ``--max-forgetting`` in the units of what it limits.

    >>> limit_text(2.0)
    '2 points of a score, 0.02 nats/token of a text'
    """
    return f"{words.points(points)} of a score, {points / 100:g} nats/token of a text"


def scored_on(task: GeneralTask) -> str:
    """The number of items, and whether they are all items of the task."""
    if task.items < task.total_items:
        return f"{task.items} of {task.total_items} items"
    return words.plural(task.items, "item")


def tasks_of(measured: Forgetting, trial: int) -> list[GeneralTask]:
    """The tasks that a trial was scored on."""
    return [task for task in measured.tasks if task.trial == trial]


def figures(measured: Forgetting, trial: int) -> list[tuple[str, Interval, Unit]]:
    """What one trial lost, by task, and on general text."""
    found = [(task.task, task.forgetting, task.unit) for task in tasks_of(measured, trial)]
    own = [one for one in measured.trials if one.trial == trial]
    return [*found, *(("general text", one.forgetting, "nats/token") for one in own)]


def shown_trial(measured: Forgetting) -> int | None:
    """The trial to show: the recommended one, else the first that was scored on tasks."""
    scored = [task.trial for task in measured.tasks]
    if measured.recommended_trial in scored or not scored:
        return measured.recommended_trial
    return scored[0]


def noise_sentence(measured: Forgetting, trial: int) -> str:
    """What one trial lost and kept, what is unresolved, and what these items could show."""
    tasks = tasks_of(measured, trial)
    if not tasks:
        return f"Trial {trial} was scored on no task."
    parts = []
    for word, verb in (("lost", "lost on"), ("kept", "kept"), ("unresolved", "left open")):
        named = [task.task for task in tasks if task.outcome == word]
        if named:
            parts.append(f"{verb} {words.joined(named)}")
    seen = words.joined([f"{t.task} {amount(t.detectable_points, t.unit)} {t.unit}" for t in tasks])
    return (
        f"Trial {trial}: {', '.join(parts)}. The smallest loss that these items would show in four "
        f"of five studies: {seen}."
    )


def limit_sentence(measured: Forgetting | NotMeasured, trial: int | None) -> str:
    """A trial against the user's limit; empty without a limit or a measurement."""
    limit = measured.limit_points if isinstance(measured, Forgetting) else None
    if limit is None or trial is None or isinstance(measured, NotMeasured):
        return ""
    found = figures(measured, trial)
    if not found:
        return f"What trial {trial} lost was not measured, so the limit was not checked."
    over = [name for name, one, _ in found if not within_limit(one.low, limit)]
    within = [name for name, one, _ in found if one.high is not None and one.high <= limit]
    unsettled = [one for one in found if one[0] not in (*over, *within)]
    above = [f"{name}, {lost(one, unit)}" for name, one, unit in unsettled if one.value > limit]
    open_ = [name for name, one, _ in unsettled if one.value <= limit]
    parts = []
    if over:
        parts.append(f"above it beyond noise on {words.joined(over)}")
    if within:
        parts.append(f"within it on {words.joined(within)}")
    if above:
        parts.append(f"above it within noise, which the gate lets pass, on {words.joined(above)}")
    if open_:
        parts.append(f"not settled on {words.joined(open_)}")
    return f"Limit of {limit_text(limit)}: trial {trial} is {', '.join(parts)}."
