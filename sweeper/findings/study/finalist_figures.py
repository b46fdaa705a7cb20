"""The finalists with their figures over all of their seeds."""

from __future__ import annotations

from statistics import median

from sweeper.evaluation.significance import t_interval
from sweeper.findings.figures import Interval
from sweeper.findings.findings import Finalist, SeedScore
from sweeper.findings.study.item_scores import test_score, test_scores, trial_name
from sweeper.findings.study.metric import LOSS, bounded
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trial_rows import finite_value
from sweeper.search.finalists import Trainings, in_order


def finalists(run: RunFiles) -> tuple[Finalist, ...]:
    """The finalists in their order on validation, which was fixed before the test was opened."""
    return tuple(_finalist(run, *placed) for placed in enumerate(_order(run), start=1))


def _order(run: RunFiles) -> list[TrialFiles]:
    """The finalists in the order of the seal; before it exists, in the order that it will have."""
    if run.seal:
        numbers = list(run.seal.order)
    else:
        trainings = [
            Trainings(
                finalist.config.number,
                [training.result for training in finalist.trainings()],
                objective=run.plan.objective,
                limits=run.limits,
            )
            for finalist in run.ranked
            if finalist.seeds
        ]
        numbers = [finalist.trial for finalist in in_order(trainings)]
    trials = [run.trial(number) for number in numbers]
    return [trial for trial in trials if trial is not None and trial.completed]


def _finalist(run: RunFiles, order: int, trial: TrialFiles) -> Finalist:
    number, by_seed = trial.config.number, test_scores(run).by_seed
    losses = {
        training.seed: loss
        for training in trial.trainings()
        if (loss := finite_value(training.result.validation_loss)) is not None
    }
    mean, low, high = t_interval(list(losses.values()))
    peaks = [
        peak
        for training in trial.trainings()
        if (peak := finite_value(training.result.peak_memory_gib)) is not None
    ]
    return Finalist(
        trial=number,
        strategy=trial.config.strategy,
        order=order,
        seeds=tuple(
            SeedScore(seed=seed, validation_loss=loss, test_score=by_seed.get((number, seed)))
            for seed, loss in losses.items()
        ),
        validation_loss=bounded(Interval(value=mean, low=low, high=high, n=len(losses)), LOSS),
        test_score=test_score(run, trial_name(number)),
        peak_memory_gib=median(peaks) if peaks else None,
        seconds=trial.seconds or 0.0,
    )
