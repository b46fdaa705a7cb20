"""What was forgotten, in words that terminal and report share."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.figures import Interval, NotMeasured
from sweeper.findings.forgetting_record import Forgetting, GeneralTask


def figure(task: GeneralTask, score: Interval) -> str:
    """One model's score on a task: per cent, or a loss."""
    if task.unit == "points":
        return f"{100 * score.value:.1f}%"
    return words.loss(score.value, score)


def lost(found: Interval) -> str:
    """Points that were lost, with their interval; a gain is negative.

    >>> lost(Interval(value=2.5, low=-1.0, high=6.04))
    '2.5 (−1.0 to 6.0)'
    """
    value = words.minus(f"{found.value:.1f}")
    if found.low is None or found.high is None:
        return value
    low, high = words.minus(f"{found.low:.1f}"), words.minus(f"{found.high:.1f}")
    return f"{value} ({low} to {high})"


def scored_on(task: GeneralTask) -> str:
    """How many items, and whether they are all that there are."""
    if task.items < task.total_items:
        return f"{task.items} of {task.total_items} items"
    return words.plural(task.items, "item")


def tasks_of(measured: Forgetting, trial: int) -> list[GeneralTask]:
    """The tasks that a trial was scored on."""
    return [task for task in measured.tasks if task.trial == trial]


def figures(measured: Forgetting, trial: int) -> list[tuple[str, Interval]]:
    """What one trial lost, by task, and on general text."""
    found = [(task.task, task.forgetting) for task in tasks_of(measured, trial)]
    return found + [("general text", t.forgetting) for t in measured.trials if t.trial == trial]


def shown_trial(measured: Forgetting) -> int | None:
    """The trial to speak of: the recommended one, else the first that was scored on tasks."""
    scored = [task.trial for task in measured.tasks]
    if measured.recommended_trial in scored or not scored:
        return measured.recommended_trial
    return scored[0]


def noise_sentence(measured: Forgetting, trial: int) -> str:
    """What one trial lost, kept and left open, and what these items can show at all."""
    tasks = tasks_of(measured, trial)
    if not tasks:
        return f"Trial {trial} was scored on no task."
    parts = []
    for word, verb in (("lost", "lost on"), ("kept", "kept"), ("unresolved", "left open")):
        named = [task.task for task in tasks if task.outcome == word]
        if named:
            parts.append(f"{verb} {words.joined(named)}")
    seen = words.joined([f"{t.task} {t.detectable_points:.1f}" for t in tasks])
    return (
        f"Trial {trial}: {', '.join(parts)}. The smallest loss that these items would show in four "
        f"of five studies, in points: {seen}."
    )


def limit_sentence(measured: Forgetting | NotMeasured, trial: int | None) -> str:
    """How a trial stands to the user's limit; empty without one, and where nothing was measured."""
    limit = measured.limit_points if isinstance(measured, Forgetting) else None
    if limit is None or trial is None or isinstance(measured, NotMeasured):
        return ""
    found = figures(measured, trial)
    if not found:
        return f"What trial {trial} lost was not measured, so that the limit was not checked."
    over = [name for name, one in found if one.low is not None and one.low > limit]
    within = [name for name, one in found if one.high is not None and one.high <= limit]
    open_ = [name for name, _ in found if name not in (*over, *within)]
    parts = []
    if over:
        parts.append(f"above it beyond noise on {words.joined(over)}")
    if within:
        parts.append(f"within it on {words.joined(within)}")
    if open_:
        parts.append(f"not settled on {words.joined(open_)}")
    return f"Limit of {words.points(limit)}: trial {trial} is {', '.join(parts)}."
