"""What training changed: measures, such as the loss on general text, and scores on other tasks.

Other tasks are those that a trial was not trained for. Measures and scores of the tuned model and
of its base are compared on the same items.

Changes are in points, hundredths of the unit: percentage points of a share, 0.01 nats per token of
a loss. A worse score is a positive change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field
from scipy import special

from sweeper import units
from sweeper.errors import GateFailed, Problem
from sweeper.evaluation.significance import (
    CONFIDENCE,
    Estimate,
    Scores,
    items_to_settle,
    mean_interval,
    outcome,
    paired_difference,
)
from sweeper.evaluation.task_scores import ModelScores, ScoredTask, TaskScores, evaluations
from sweeper.findings import words
from sweeper.findings.findings import Interval, MeasuredTrials
from sweeper.findings.study.item_scores import interval
from sweeper.findings.study.metric import LOSS, SHARE, UNBOUNDED, Bounds
from sweeper.findings.study.paired_trials import ComparedPair, compare
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.objective import Limit
from sweeper.textfiles import read_json_object
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import GENERAL, MEASURE_ITEMS, Measure

# Share of studies in which a difference of the detectable size is significant.
POWER = 0.8

# Whether a task kept its score: a loss of the margin or more is excluded, shown, or neither.
Retention = Literal["kept", "lost", "unresolved"]


class MeasureChange(NamedTuple):
    """The change of one measure of a trial by training.

    Args:
        name: The measure's name, to which limits refer.
        title: Title for people.
        points: The change in points, with its interval if the items were kept.
        unit: The unit to show the change in: "points", or that of a loss, such as "nats/token".
    """

    name: str
    title: str
    points: Interval
    unit: str


def changes(run: RunFiles, trial: int) -> list[MeasureChange]:
    """The changes of a trial by training: of scores on other tasks, then of measures."""
    tasks = [task for task in task_changes(run) if task.trial == trial]
    found = [MeasureChange(f"{GENERAL}.{t.task}", t.task, t.lost, t.unit) for t in tasks]
    files = run.trial(trial)
    if files is not None:
        for name, measure in files.result.measures.items():
            points = measure_points(run, files, name)
            found.append(MeasureChange(name, measure.title, points, measure.unit))
    return found


def measure_points(run: RunFiles, trial: TrialFiles, name: str) -> Interval:
    """The change of a measure in points, with its interval if its items were kept."""
    measure = trial.result.measures[name]
    difference = _paired_items(run, trial, name)
    return Interval(value=100 * measure.change) if difference is None else in_points(difference)


def _paired_items(run: RunFiles, trial: TrialFiles, name: str) -> Estimate | None:
    """Tuned minus base over the items of a measure; None if they were not kept."""
    folder = run.folder.trial(trial.config.number)
    try:
        items = read_json_object(folder / MEASURE_ITEMS)[name]
        weights = items["weights"]
        tuned = Scores.of([items["values"]], seed_noise=False, weights=weights)
        base = Scores.of([items["base_values"]], seed_noise=False, weights=weights)
        return paired_difference(tuned, base)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measured_trials(run: RunFiles) -> dict[str, MeasuredTrials]:
    """The measures of completed trials that also have a value of the base, by name."""
    measures: dict[str, Measure] = {}
    by_trial: dict[str, dict[int, float]] = {}
    for trial in run.ranked:
        for name, measure in trial.result.measures.items():
            if measure.base is not None:
                measures.setdefault(name, measure)
                by_trial.setdefault(name, {})[trial.config.number] = measure.change
    return {
        name: MeasuredTrials(
            title=measure.title,
            unit=measure.unit,
            limit=next((limit.most for limit in run.limits if limit.holds_for(name)), None),
            changes=by_trial[name],
        )
        for name, measure in measures.items()
    }


def gate(run: RunFiles, trials: Sequence[int], limits: Sequence[Limit]) -> None:
    """Raise an error if one of these trials exceeds a limit beyond noise.

    Raises:
        GateFailed: A trial exceeds a limit, or a limited measure was not measured.
    """
    problems: list[Problem] = []
    for limit in limits:
        for trial in trials:
            limited = [change for change in changes(run, trial) if limit.holds_for(change.name)]
            if not limited:
                what = f"the limit on {limit.title} could not be checked: nothing was measured in "
                problems.append(Problem(f"{what}trial {trial}", fix=limit.remedy))
            problems += [
                Problem(
                    f"trial {trial}, {change.title}: {lost(change.points, change.unit)}, more than "
                    f"the limit of {amount(100 * limit.most, change.unit)} {change.unit} on "
                    f"{limit.title}",
                    why="The whole 95% interval (in brackets) is above the limit."
                    if change.points.low is not None
                    else "Scores of single items are missing, so the mean is compared.",
                    fix="The report says what to do.",
                )
                for change in limited
                if limit.is_surely_broken(change.points.value, change.points.low, scale=100)
            ]
    if problems:
        raise GateFailed(problems)


class TaskChange(ScoredTask):
    """One trial against its base on one task that it was not trained for, on the same items.

    ``lost`` is in points, with its interval over items. ``detectable_points`` is the smallest true
    loss that would be significant with these items in four of five studies.
    """

    items: int
    trial: int
    strategy: StrategyOnModel
    base: Interval
    tuned: Interval
    lost: Interval
    detectable_points: float
    adjusted_p: float | None = Field(None, description="Holm, over the tasks of this trial")
    outcome: Retention
    more_items: int | None = Field(None, description="further items that would settle it")


def task_changes(run: RunFiles) -> tuple[TaskChange, ...]:
    """The change of every trial on every task on which it and its base were scored."""
    folder = evaluations(run.folder)
    files = sorted(folder.glob("*.json"))
    scores = [score for score in map(ModelScores.read_or_none, files) if score is not None]
    bases = [s for s in scores if s.trial is None]
    tuned = sorted((s for s in scores if s.trial is not None), key=lambda s: s.trial or 0)
    changes: list[TaskChange] = []
    for model in tuned:
        own_bases = [b for b in bases if (b.model, b.dtype) == (model.model, model.dtype)]
        tasks = [(task, _same_task(own_bases, task)) for task in model.tasks]
        pairs = {task.task: (task, base) for task, base in tasks if base is not None}
        compared = compare({name: (_scores(t), _scores(b)) for name, (t, b) in pairs.items()})
        changes += [
            _task_change(model, *pairs[name], pair, run.margin) for name, pair in compared.items()
        ]
    return tuple(changes)


def _same_task(bases: Sequence[ModelScores], tuned: TaskScores) -> TaskScores | None:
    """The base's scores on the same items of a task; None with fewer than two items."""
    base = next((t for b in bases if (t := b.task(tuned.task, tuned.digest))), None)
    return base if base and base.keys == tuned.keys and len(base.keys) > 1 else None


def _scores(task: TaskScores) -> Scores:
    """One model's scores on a task, without uncertainty of seeds."""
    return Scores.of([task.scores], seed_noise=False, weights=task.weights or None)


def _task_change(
    model: ModelScores, task: TaskScores, base: TaskScores, pair: ComparedPair, margin: float
) -> TaskChange:
    difference = pair.estimate
    bounds = SHARE if task.unit == "points" else LOSS
    word = outcome(difference, margin, task.higher_is_better, pair.adjusted_p)
    retention: Retention = "lost" if word == "worse" else "unresolved"
    worst = -difference.low if task.higher_is_better else difference.high
    if word == "better" or (word != "worse" and worst < margin):
        retention = "kept"
    return TaskChange.taken_from(
        task,
        items=len(task.keys),
        trial=model.trial or 0,
        strategy=model.strategy,
        base=interval(mean_interval(_scores(base)), bounds),
        tuned=interval(mean_interval(_scores(task)), bounds),
        lost=in_points(difference, bounds, sign=-1 if task.higher_is_better else 1),
        detectable_points=100 * _detectable_difference(difference),
        adjusted_p=pair.adjusted_p,
        outcome=retention,
        more_items=items_to_settle(difference, margin) if retention == "unresolved" else None,
    )


def in_points(difference: Estimate, bounds: Bounds = UNBOUNDED, sign: int = 1) -> Interval:
    """A difference of two scores, in points.

    Args:
        bounds: Bounds of a single score.
        sign: -1 if higher scores are better, so that a loss is positive.
    """
    lowest, highest = bounds
    bounded_interval = interval(difference, (lowest - highest, highest - lowest))
    ends = [
        None if end is None else 100 * sign * end
        for end in (bounded_interval.low, bounded_interval.high)
    ]
    low, high = ends if sign > 0 else reversed(ends)
    return Interval(
        value=100 * sign * bounded_interval.value + 0.0,  # no -0.0
        low=low,
        high=high,
        n=bounded_interval.n,
    )


def _detectable_difference(difference: Estimate) -> float:
    """The smallest true difference that would be significant in four of five studies."""
    quantiles = special.ndtri(0.5 + CONFIDENCE / 2) + special.ndtri(POWER)
    return float(quantiles) * difference.item_error


def score_text(task: TaskChange, score: Interval) -> str:
    """One model's score on a task: per cent, or a loss."""
    if task.unit == "points":
        return f"{100 * score.value:.1f}%"
    return words.number(score.value, score)


def interval_text(interval: Interval, unit: str) -> str:
    """The ends of an interval of points, as ``amount`` shows them; a dash if unknown."""
    if interval.low is None or interval.high is None:
        return words.DASH
    return f"{amount(interval.low, unit)} to {amount(interval.high, unit)}"


def amount(points: float, unit: str) -> str:
    """A change in points as a number in its unit, without the unit.

    >>> amount(2.5, "points"), amount(2.5, "nats/token")
    ('2.5', '0.025')
    """
    return words.minus(f"{points:.1f}" if unit == "points" else f"{points / 100:.3f}")


def lost(points: Interval, unit: str) -> str:
    """What was lost, with its unit and interval; a gain is negative.

    >>> lost(Interval(value=2.5, low=-1.0, high=6.04), "points")
    '2.5 points (−1.0 to 6.0)'
    >>> lost(Interval(value=2.5), "nats/token")
    '0.025 nats/token'
    """
    value, ends = f"{amount(points.value, unit)} {unit}", interval_text(points, unit)
    return value if ends == words.DASH else f"{value} ({ends})"


def scored_on(task: TaskChange) -> str:
    """The number of items, and whether they are all items of the task."""
    if task.items < task.total_items:
        return f"{task.items} of {task.total_items} items"
    return units.plural(task.items, "item")


def noise_sentence(changes: Sequence[TaskChange], trial: int) -> str:
    """The tasks on which a score was lost, kept or is unresolved, and detectable losses."""
    tasks = [task for task in changes if task.trial == trial]
    if not tasks:
        return f"Trial {trial} was scored on no task."
    parts = []
    for word in ("lost", "kept", "unresolved"):
        named = [task.task for task in tasks if task.outcome == word]
        if named:
            parts.append(f"{word} on {units.joined(named)}")
    detectable = units.joined(
        [f"{t.task} {amount(t.detectable_points, t.unit)} {t.unit}" for t in tasks]
    )
    return (
        f"Trial {trial}: score {', '.join(parts)}. The smallest loss that these items would show "
        f"in four of five studies: {detectable}."
    )
