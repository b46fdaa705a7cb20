"""The configurations that were trained again, with their figures over all of their seeds."""

from __future__ import annotations

from statistics import median

from sweeper.evaluation.significance import mean_interval, t_interval
from sweeper.findings.figures import Interval
from sweeper.findings.findings import Finalist, SeedScore
from sweeper.findings.study.item_scores import TestScores, interval, test_scores, trial_name
from sweeper.findings.study.metric import (
    LOSS,
    Bounds,
    bounded,
    headline,
    score_bounds,
)
from sweeper.findings.study.reading import RunFiles, SeedRun, TrialFiles
from sweeper.findings.study.trial_rows import finite_value, trial_seconds
from sweeper.search.finalists import Trainings, in_order


def finalists(run: RunFiles) -> tuple[Finalist, ...]:
    """The finalists in the order that validation gave them before the test was opened."""
    tests = test_scores(run)
    ordered = _order(run)
    bounds = score_bounds(headline(run.plan, run.seal))
    return tuple(
        _finalist(trial, order, tests, bounds) for order, trial in enumerate(ordered, start=1)
    )


def _order(run: RunFiles) -> list[TrialFiles]:
    """As the seal fixed it; before that, the confirmed trials as it will."""
    if run.seal:
        numbers = list(run.seal.order)
    else:
        made = [
            Trainings(
                finalist.config.number,
                [training.result for training in finalist.trainings()],
                objective=run.plan.objective,
                limits=run.limits,
            )
            for finalist in run.ranked
            if finalist.seeds
        ]
        numbers = [finalist.trial for finalist in in_order(made)]
    trials = [run.trial(number) for number in numbers]
    return [trial for trial in trials if trial is not None and trial.completed]


def _finalist(trial: TrialFiles, order: int, tests: TestScores, bounds: Bounds) -> Finalist:
    number, name = trial.config.number, trial_name(trial.config.number)
    trainings = [run for run in trial.trainings() if _loss(run) is not None]
    mean, low, high = t_interval([loss for run in trainings if (loss := _loss(run)) is not None])
    scores = tests.by_name.get(name)
    peaks = [
        peak for run in trainings if (peak := finite_value(run.result.peak_memory_gib)) is not None
    ]
    return Finalist(
        trial=number,
        strategy=trial.config.strategy,
        order=order,
        seeds=tuple(
            SeedScore(
                seed=run.seed,
                validation_loss=_loss(run) or 0.0,
                test_score=tests.by_seed.get((number, run.seed)),
            )
            for run in trainings
        ),
        validation_loss=bounded(Interval(value=mean, low=low, high=high, n=len(trainings)), LOSS),
        test_score=interval(mean_interval(scores), bounds) if scores else None,
        peak_memory_gib=median(peaks) if peaks else None,
        seconds=trial_seconds(trial) or 0.0,
    )


def _loss(run: SeedRun) -> float | None:
    return finite_value(run.result.validation_loss)
