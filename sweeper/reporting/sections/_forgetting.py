"""Forgetting: base against tuned model on the same items, and the loss on general text.

Reads what was scored; scores nothing. A point is a hundredth: of a share for tasks that are right
or wrong, of a nat per token for a loss (one per cent of the perplexity). Losing counts as
positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from scipy import special

from sweeper import units
from sweeper.artifact import Record
from sweeper.errors import GateFailed, Problem
from sweeper.evaluation.resampling import CONFIDENCE
from sweeper.evaluation.significance import (
    Estimate,
    Scores,
    holm,
    items_to_settle,
    mean_interval,
    outcome,
    paired_difference,
)
from sweeper.evaluation.task_scores import ModelScores, TaskScores, evaluations
from sweeper.findings import words
from sweeper.findings.figures import Interval, NotMeasured
from sweeper.findings.front import front_of
from sweeper.findings.study.item_scores import interval
from sweeper.findings.study.metric import LOSS, SHARE, UNBOUNDED, Bounds
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trial_rows import known
from sweeper.jsontext import object_of
from sweeper.reporting.document import Report
from sweeper.textfile import read_text
from sweeper.trials import within_limit

# The share of studies in which a difference of the size called detectable would be seen.
POWER = 0.8

Retention = Literal["kept", "lost", "unresolved"]

Unit = Literal["points", "nats/token"]


class GeneralTask(Record):
    """One trial against its base on one task of general capability, on the same items.

    ``forgetting`` is what was lost in points, with its interval over items (one training); a point
    is a hundredth of a share or of a nat per token. ``detectable_points`` is the smallest true
    loss that these items would show in four of five studies.
    """

    task: str
    kind: str
    metric: str
    unit: Literal["points", "nats/token"]
    higher_is_better: bool
    harness: str
    shots: int | None = None
    items: int
    total_items: int
    trial: int
    strategy: str
    base: Interval
    tuned: Interval
    forgetting: Interval
    detectable_points: float
    adjusted_p: float = Field(description="Holm, over the tasks of this trial")
    outcome: Retention
    more_items: int | None = Field(None, description="further items that would settle it")


class TrialForgetting(Record):
    """One completed trial's loss on general text, before and after, beside its loss on the task."""

    trial: int
    strategy: str
    task_loss: float
    general_loss: float
    general_loss_base: float
    forgetting: Interval = Field(description="points: hundredths of a nat per token")


class Figures(Record):
    """What was lost, by task and by trial. ``front``: no other trial is better in both losses."""

    limit_points: float | None = None
    recommended_trial: int | None = None
    tasks: tuple[GeneralTask, ...] = ()
    trials: tuple[TrialForgetting, ...] = ()
    front: tuple[int, ...] = ()


def forgetting(run: RunFiles, recommended: int | None) -> Figures | NotMeasured:
    """All figures of a run about forgetting.

    Args:
        recommended: The trial that the verdict names, if it names one.
    """
    found = [_trial(run, trial) for trial in run.trials if trial.completed]
    trials = tuple(trial for trial in found if trial is not None)
    tasks = _tasks(run)
    if not tasks and not trials:
        return _not_measured(run)
    return Figures(
        limit_points=run.max_forgetting_points,
        recommended_trial=recommended,
        tasks=tasks,
        trials=trials,
        front=tuple(front_of((t.forgetting.value, t.task_loss, t.trial) for t in trials)),
    )


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
    assert result is not None
    after, before = known(result.general_loss), known(result.general_loss_base)
    if after is None or before is None:
        return None
    points = Interval(value=100 * (after - before))
    folder = run.folder.trial(trial.config.number)
    difference = _paired_file(folder, result.general_item_losses)
    if difference is not None:
        points = _in_points(difference)
    return TrialForgetting(
        trial=trial.config.number,
        strategy=trial.config.strategy,
        task_loss=trial.loss if result.validation_loss is None else result.validation_loss,
        general_loss=after,
        general_loss_base=before,
        forgetting=points,
    )


def _paired_file(folder: Path, name: str | None) -> Estimate | None:
    """Tuned minus base over the items of the general set, where they were kept."""
    if name is None:
        return None
    try:
        fields = object_of(read_text(folder / name))
        weights = fields["weights"]
        tuned = Scores.of([fields["losses"]], trained=False, weights=weights)
        base = Scores.of([fields["base_losses"]], trained=False, weights=weights)
        return paired_difference(tuned, base)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class _Pair:
    """One trial and its base on one task."""

    trial: int
    strategy: str
    tuned: TaskScores
    base: TaskScores
    difference: Estimate


def _tasks(run: RunFiles) -> tuple[GeneralTask, ...]:
    """Every trial against its base on every task that both were scored on."""
    folder = evaluations(run.folder)
    files = sorted(folder.glob("*.json"))
    scores = [one for one in map(ModelScores.read_or_none, files) if one is not None]
    bases = [s for s in scores if s.trial is None]
    tuned = sorted((s for s in scores if s.trial is not None), key=lambda s: s.trial or 0)
    found: list[GeneralTask] = []
    for model in tuned:
        pairs = _pairs(model, bases)
        adjusted = holm([pair.difference.p for pair in pairs])
        found += [_task(pair, p, run.margin) for pair, p in zip(pairs, adjusted, strict=True)]
    return tuple(found)


def _pairs(model: ModelScores, bases: Sequence[ModelScores]) -> list[_Pair]:
    pairs = []
    own = [b for b in bases if (b.model, b.dtype) == (model.model, model.dtype)]
    for tuned in model.tasks:
        base = next((t for b in own if (t := b.task(tuned.task, tuned.digest))), None)
        if base is None or base.keys != tuned.keys or len(base.keys) < 2:
            continue
        difference = paired_difference(_scores(tuned), _scores(base))
        pairs.append(_Pair(model.trial or 0, model.strategy, tuned, base, difference))
    return pairs


def _scores(task: TaskScores) -> Scores:
    """The scores of these very weights: what another seed would have forgotten is not asked."""
    return Scores.of([task.scores], trained=False, weights=task.weights or None)


def _task(pair: _Pair, adjusted: float, smallest: float) -> GeneralTask:
    task, difference = pair.tuned, pair.difference
    bounds = SHARE if task.unit == "points" else LOSS
    word = outcome(difference, smallest, task.higher_is_better, adjusted)
    kept: Retention = "lost" if word == "worse" else "unresolved"
    worst = -difference.low if task.higher_is_better else difference.high
    if word == "better" or (word != "worse" and worst < smallest):
        kept = "kept"
    return GeneralTask.taken_from(
        task,
        items=len(task.keys),
        trial=pair.trial,
        strategy=pair.strategy,
        base=interval(mean_interval(_scores(pair.base)), bounds),
        tuned=interval(mean_interval(_scores(task)), bounds),
        forgetting=_in_points(difference, bounds, sign=-1 if task.higher_is_better else 1),
        detectable_points=100 * _detectable(difference),
        adjusted_p=adjusted,
        outcome=kept,
        more_items=items_to_settle(difference, smallest) if kept == "unresolved" else None,
    )


def _in_points(difference: Estimate, bounds: Bounds = UNBOUNDED, sign: int = 1) -> Interval:
    """A difference of scores between these bounds, as points that were lost."""
    lowest, highest = bounds
    found = interval(difference, (lowest - highest, highest - lowest))
    ends = [None if end is None else 100 * sign * end for end in (found.low, found.high)]
    low, high = ends if sign > 0 else reversed(ends)
    return Interval(value=100 * sign * found.value + 0.0, low=low, high=high, n=found.n)


def _detectable(difference: Estimate) -> float:
    """The smallest true difference that these items would show in four of five studies."""
    quantiles = special.ndtri(0.5 + CONFIDENCE / 2) + special.ndtri(POWER)
    return float(quantiles) * difference.item_error


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
    return units.plural(task.items, "item")


def tasks_of(measured: Figures, trial: int) -> list[GeneralTask]:
    """The tasks that a trial was scored on."""
    return [task for task in measured.tasks if task.trial == trial]


def figures(measured: Figures, trial: int) -> list[tuple[str, Interval, Unit]]:
    """What one trial lost, by task, and on general text."""
    found = [(task.task, task.forgetting, task.unit) for task in tasks_of(measured, trial)]
    own = [one for one in measured.trials if one.trial == trial]
    return [*found, *(("general text", one.forgetting, "nats/token") for one in own)]


def shown_trial(measured: Figures) -> int | None:
    """The trial to show: the recommended one, else the first that was scored on tasks."""
    scored = [task.trial for task in measured.tasks]
    if measured.recommended_trial in scored or not scored:
        return measured.recommended_trial
    return scored[0]


def noise_sentence(measured: Figures, trial: int) -> str:
    """What one trial lost and kept, what is unresolved, and what these items could show."""
    tasks = tasks_of(measured, trial)
    if not tasks:
        return f"Trial {trial} was scored on no task."
    parts = []
    for word, verb in (("lost", "lost on"), ("kept", "kept"), ("unresolved", "left open")):
        named = [task.task for task in tasks if task.outcome == word]
        if named:
            parts.append(f"{verb} {units.joined(named)}")
    seen = units.joined([f"{t.task} {amount(t.detectable_points, t.unit)} {t.unit}" for t in tasks])
    return (
        f"Trial {trial}: {', '.join(parts)}. The smallest loss that these items would show in four "
        f"of five studies: {seen}."
    )


_OVER, _UNKNOWN = "above it beyond noise on", "above it, with unknown noise, on"
_WITHIN, _OPEN = "within it on", "not settled on"
_ABOVE = "above it within noise, which the gate lets pass, on"


def limit_sentence(measured: Figures, trial: int | None) -> str:
    """A trial against the user's limit; empty without a limit."""
    limit = measured.limit_points
    if limit is None or trial is None:
        return ""
    found = figures(measured, trial)
    if not found:
        return f"What trial {trial} lost was not measured, so the limit was not checked."
    named: dict[str, list[str]] = {}
    for name, one, unit in found:
        standing = _standing(one, limit)
        value = f", {lost(one, unit)}" if standing in (_UNKNOWN, _ABOVE) else ""
        named.setdefault(standing, []).append(f"{name}{value}")
    order = (_OVER, _UNKNOWN, _WITHIN, _ABOVE, _OPEN)
    parts = [f"{one} {units.joined(named[one])}" for one in order if one in named]
    return f"Limit of {limit_text(limit)}: trial {trial} is {', '.join(parts)}."


def _standing(found: Interval, limit: float) -> str:
    if not within_limit(found.low, limit):
        return _OVER
    if found.high is not None and within_limit(found.high, limit):
        return _WITHIN
    if within_limit(found.value, limit):
        return _OPEN
    return _UNKNOWN if found.low is None else _ABOVE


def _least(found: Interval) -> float:
    """The low end of the interval, or the mean where the figures of single items are lost."""
    return found.value if found.low is None else found.low


def gate(report: Report, trials: Sequence[int], limit: float) -> None:
    """Raise an error if one of these trials lost more than the limit, beyond noise.

    Raises:
        GateFailed: One did, or nothing was measured for it.
    """
    measured = report.figures("forgetting", Figures)
    problems: list[Problem] = []
    for trial in trials:
        found = figures(measured, trial) if measured else []
        if not found:
            problems.append(
                Problem(
                    f"the limit of {limit_text(limit)} could not be checked: what trial {trial} "
                    "forgot was not measured",
                    fix="Score other tasks with the run, or name general text with --general "
                    "(docs/forgetting.md). A classification head writes no text, so that there it "
                    "cannot be measured.",
                )
            )
        problems += [
            Problem(
                f"trial {trial} lost {lost(one, unit)} on {name}, more than the limit of "
                f"{amount(limit, unit)} {unit}",
                why="The whole 95% interval in brackets is above the limit."
                if one.low is not None
                else "The losses of single items are missing, so that the mean is compared.",
                fix="See what to do about it in the report's section on forgetting.",
            )
            for name, one, unit in found
            if not within_limit(_least(one), limit)
        ]
    if problems:
        raise GateFailed(problems)
