"""Scores the predictions of a run with its files: what was observed, and what held."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from sweeper.evaluation.significance import paired_difference
from sweeper.features.ledger._predictions import DEVIATIONS, PlanPrediction, Scored
from sweeper.findings.study.item_scores import test_scores, trial_name, validation_scores
from sweeper.findings.study.metric import headline
from sweeper.findings.study.predicted_figures import PredictedFigure, predicted_figures
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategy_figures import best_of, default_of
from sweeper.search.pruner import guessing_loss

# The figures of ``predicted_figures`` by kind of prediction.
_FIGURES = {"memory": "memory", "trial-time": "trial", "sweep-time": "sweep", "money": "money"}
# Half the width of a 95% interval in standard errors.
_DEVIATIONS_95 = 1.96


def scores_of(predictions: Sequence[PlanPrediction], run: RunFiles) -> Iterator[Scored]:
    """Every prediction with what this complete run observed."""
    figures = {(figure.what, figure.strategy): figure for figure in predicted_figures(run)}
    for prediction in predictions:
        if prediction.kind in _FIGURES:
            figure = figures.get((_FIGURES[prediction.kind], prediction.strategy))
            yield _score_amount(prediction, figure)
        elif prediction.kind == "best-loss":
            yield _score_best_loss(prediction, run)
        elif prediction.kind == "more-rows":
            yield _score_more_rows(prediction, run)
        elif prediction.unit == "probability":
            yield _score_event(prediction, run)
        else:
            yield _score_points(prediction, run)


def _score_amount(prediction: PlanPrediction, figure: PredictedFigure | None) -> Scored:
    """Score a memory, a time or a price by the run's figure, if that is of the predicted work."""
    if figure is None:
        return Scored.taken_from(prediction, open="not-measured")
    scored = Scored.taken_from(prediction, observed=figure.actual, disturbed=figure.disturbed)
    if not math.isclose(figure.predicted, prediction.value, rel_tol=0.01, abs_tol=0.01):
        return scored.model_copy(update={"open": "other-work"})
    assert scored.low is not None
    assert scored.high is not None
    return scored.model_copy(update={"held": scored.low <= scored.undisturbed <= scored.high})


def _score_event(prediction: PlanPrediction, run: RunFiles) -> Scored:
    """Score the event that a strategy's best trial beats that of ``against`` on validation."""
    first, second = best_of(run, prediction.strategy), best_of(run, prediction.against)
    if first is None or second is None:
        return Scored.taken_from(prediction, open="not-measured")
    occurred = first.cost < second.cost
    held = occurred == (prediction.value >= 0.5)
    return Scored.taken_from(prediction, observed=float(occurred), held=held)


def _score_points(prediction: PlanPrediction, run: RunFiles) -> Scored:
    """Score the difference of two trials in points: on the test split, otherwise on validation."""
    against_default = prediction.kind == "search-gain"
    first = best_of(run, prediction.strategy)
    second = (default_of if against_default else best_of)(
        run, prediction.against or prediction.strategy
    )
    if first is None or second is None or not second.completed:
        return Scored.taken_from(prediction, open="not-measured")
    if headline(run.plan, run.seal).unit != "points":
        return Scored.taken_from(prediction, open="no-points")
    return _judged_difference(prediction, _difference(first, second, run))


def _judged_difference(prediction: PlanPrediction, measured: tuple[float, float] | None) -> Scored:
    """Score a prediction by a difference; its standard error widens the interval."""
    if measured is None:
        return Scored.taken_from(prediction, open="not-measured")
    observed, error = measured
    assert prediction.low is not None
    assert prediction.high is not None
    tolerance = math.hypot((prediction.high - prediction.low) / 2, DEVIATIONS * error)
    held = abs(observed - prediction.value) <= tolerance
    return Scored.taken_from(prediction, observed=observed, error=error, held=held)


def _score_best_loss(prediction: PlanPrediction, run: RunFiles) -> Scored:
    """Score the lowest validation loss of the search, as a share of the loss of guessing."""
    losses = [trial.result.validation_loss for trial in run.ranked if trial.result]
    measured = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    if not measured:
        return Scored.taken_from(prediction, open="not-measured")
    observed = min(measured) / guessing_loss(run.plan)
    assert prediction.low is not None
    assert prediction.high is not None
    held = prediction.low <= observed <= prediction.high
    return Scored.taken_from(prediction, observed=observed, held=held)


def _score_more_rows(prediction: PlanPrediction, run: RunFiles) -> Scored:
    """Score the change of the winner's loss with the last doubling of its rows."""
    finalists = [run.seal.recommended, *run.seal.order] if run.seal else []
    trials = (run.trial(number) for number in finalists if number is not None)
    trial = next(trials, None)
    measured = _last_doubling(trial, run.plan.searched_rows) if trial else None
    return _judged_difference(prediction, measured)


def _last_doubling(trial: TrialFiles, rows: int) -> tuple[float, float] | None:
    """Per cent by which twice the rows lowered the loss, with its standard error.

    Compares trainings on the most and the second most rows; None without two common seeds.

    Args:
        rows: Number of rows of the search's trainings.
    """
    by_rows: dict[int, dict[int, float]] = {}
    for count, training in [*((rows, seed) for seed in trial.trainings()), *trial.parts]:
        loss = training.result.validation_loss
        if training.result.state == "COMPLETE" and loss is not None and 0 < loss < math.inf:
            by_rows.setdefault(count, {})[training.result.seed] = loss
    fewer_rows, more_rows = sorted(by_rows)[-2:] if len(by_rows) > 1 else (rows, rows)
    seeds = sorted(by_rows.get(fewer_rows, {}).keys() & by_rows.get(more_rows, {}).keys())
    if fewer_rows == more_rows or len(seeds) < 2:
        return None
    doublings = math.log2(more_rows / fewer_rows)
    gains = [
        100 * (1 - (by_rows[more_rows][seed] / by_rows[fewer_rows][seed]) ** (1 / doublings))
        for seed in seeds
    ]
    return statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))


def _difference(first: TrialFiles, second: TrialFiles, run: RunFiles) -> tuple[float, float] | None:
    """The first trial minus the second in points, with its standard error; None if unknown."""
    if first is second:
        return 0.0, 0.0
    by_name = test_scores(run).by_name
    on_test = [by_name.get(trial_name(trial.config.number)) for trial in (first, second)]
    first_scores, second_scores = (
        on_test if all(on_test) else [validation_scores(trial) for trial in (first, second)]
    )
    if (
        first_scores is None
        or second_scores is None
        or first_scores.items.shape[1] != second_scores.items.shape[1]
    ):
        return None
    difference = paired_difference(first_scores, second_scores)
    if not math.isfinite(difference.high - difference.low):
        return None
    return 100 * difference.value, 100 * (difference.high - difference.low) / 2 / _DEVIATIONS_95
