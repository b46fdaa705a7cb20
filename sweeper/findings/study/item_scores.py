"""Scores and texts of test items, and validation scores of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sweeper.evaluation.significance import Estimate, Scores, mean_interval, with_shared_seeds
from sweeper.findings import words
from sweeper.findings.findings import Interval
from sweeper.findings.study.metric import UNBOUNDED, Bounds, bounded, headline, score_bounds
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.traits.traits import changes_base
from sweeper.trials import GeneratedAnswers, ItemText, TestScore

# Fewest items from which a spread can be estimated.
_MIN_ITEMS = 2
# A label is suspected only if the model gives it at most this probability.
_MAX_CLASS_PROBABILITY = 0.05


@dataclass(frozen=True)
class TestScores:
    """Test scores and mean metrics by model name, and mean scores by (trial, seed)."""

    __test__ = False

    by_name: dict[str, Scores]
    metrics: dict[str, dict[str, float]]
    by_seed: dict[tuple[int, int], float]


def trial_name(number: int) -> str:
    """The name of a trial in comparisons."""
    return f"trial-{number}"


def model_title(run: RunFiles, name: str) -> str:
    """The title of a compared model: ``trial 7 (LoRA)``, or a baseline's title."""
    for baseline in run.baselines:
        if baseline.name == name:
            return baseline.title
    for trial in run.trials:
        if trial_name(trial.config.number) == name:
            return f"trial {trial.config.number} ({words.short(trial.config.strategy)})"
    return name


@lru_cache(maxsize=1)
def test_scores(run: RunFiles) -> TestScores:
    """The scores on the test split; empty before it was scored."""
    by_name: dict[str, Scores] = {}
    metrics: dict[str, dict[str, float]] = {}
    by_seed: dict[tuple[int, int], float] = {}
    scored, by_loss = scored_items(run), run.plan.objective.is_loss
    for name, model_scores in scores_by_model(run).items():
        rows = [entry.item_scores for entry in model_scores]
        if (scores := _scores(model_scores, rows, scored, by_loss=by_loss)) is not None:
            by_name[name] = scores
            metrics[name] = _mean_metrics([entry.metrics for entry in model_scores])
        for entry in model_scores:
            seed_scores = _scores([entry], [entry.item_scores], scored, by_loss=by_loss)
            if seed_scores is not None and (training := _trial_and_seed(run, entry)) is not None:
                by_seed[training] = seed_scores.mean
    return TestScores(_with_pooled_seeds(run, by_name), metrics, by_seed)


def test_score(run: RunFiles, name: str) -> Interval | None:
    """A model's headline score with its interval; None if it has none."""
    scores = test_scores(run).by_name.get(name)
    bounds = score_bounds(headline(run.plan, run.seal))
    return interval(mean_interval(scores), bounds) if scores else None


def scored_items(run: RunFiles) -> NDArray[np.bool_]:
    """Mask ``(test items,)`` of items on which all models were scored: all weights are above 0.

    Only these are compared, counted and shown. Models without any scored item are ignored.
    """
    scores = run.seal.scores if run.seal else ()
    scored = np.ones(max((len(score.item_scores) for score in scores), default=0), dtype=np.bool_)
    for score in scores:
        if len(score.item_weights) == scored.size and any(score.item_weights):
            scored &= np.asarray(score.item_weights) > 0
    return scored


def _scores(
    model_scores: Sequence[TestScore],
    rows: list[tuple[float, ...]],
    scored: NDArray[np.bool_],
    *,
    by_loss: bool = True,
) -> Scores | None:
    """One model's scores or losses on the scored items; None if they cannot be compared.

    Args:
        rows: The scores or losses of all test items, a row for each seed.
        by_loss: Whether items have the weights of the loss; otherwise all have weight 1.
    """
    if not _usable(rows):
        return None
    weights = np.asarray(model_scores[0].item_weights, dtype=np.float64)
    if not by_loss or weights.size != len(rows[0]):
        weights = np.ones(len(rows[0]))
    if weights.size == scored.size:
        weights = weights * scored
    if (weights > 0).sum() < _MIN_ITEMS:
        return None
    return Scores.of(rows, seed_noise=model_scores[0].trial is not None, weights=weights)


def _trial_and_seed(run: RunFiles, entry: TestScore) -> tuple[int, int] | None:
    """The trial and the seed of a score; None for a baseline."""
    trial = run.trial(entry.trial) if entry.trial is not None else None
    seed = entry.seed if entry.seed is not None else trial.config.seed if trial else None
    return None if entry.trial is None or seed is None else (entry.trial, seed)


def _with_pooled_seeds(run: RunFiles, by_name: dict[str, Scores]) -> dict[str, Scores]:
    """The scores, with the variance between seeds pooled over trials.

    Trials with a frozen base are pooled separately, since their seeds differ far less.
    """
    by_changed_base: dict[bool, dict[str, Scores]] = {}
    for trial in run.trials:
        name = trial_name(trial.config.number)
        if name in by_name:
            models = by_changed_base.setdefault(changes_base(trial.config.strategy), {})
            models[name] = by_name[name]
    pooled = [with_shared_seeds(models) for models in by_changed_base.values()]
    return by_name | {name: scores for models in pooled for name, scores in models.items()}


def test_losses(run: RunFiles) -> dict[str, Scores]:
    """Losses per test item of every scored model, by its name in comparisons."""
    scored = scored_items(run)
    by_name = {
        name: losses
        for name, model_scores in scores_by_model(run).items()
        if (losses := _scores(model_scores, [score.item_losses for score in model_scores], scored))
    }
    return _with_pooled_seeds(run, by_name)


def scores_by_model(run: RunFiles) -> dict[str, list[TestScore]]:
    """The scores of the opened seal by model: one entry for each seed."""
    grouped: dict[str, list[TestScore]] = {}
    for entry in run.seal.scores if run.seal else ():
        name = entry.name if entry.trial is None else trial_name(entry.trial)
        grouped.setdefault(name, []).append(entry)
    return grouped


def stored_texts(run: RunFiles) -> dict[int, ItemText]:
    """The stored texts of scored test items, by index."""
    scored = set(np.flatnonzero(scored_items(run)).tolist())
    return {
        item: text
        for model_scores in scores_by_model(run).values()
        for score in model_scores
        for item, text in score.texts.items()
        if item in scored
    }


def written_answers(scores: Sequence[TestScore]) -> GeneratedAnswers | None:
    """The generated answers of one training of a model; None if none generated any."""
    return next((score.generated for score in scores if score.generated is not None), None)


def _mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over seeds; metrics that a seed lacks are left out."""
    names = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return {name: value for name, value in means.items() if np.isfinite(value)}


def validation_costs(trial: TrialFiles, *, seeds: bool = True) -> Scores | None:
    """Validation costs per item, of all trainings of a trial; without ``seeds``, of its own one."""
    return _scores_of(trial, "costs", seeds=seeds)


def validation_scores(trial: TrialFiles) -> Scores | None:
    """Headline scores per validation item, of all trainings of a trial."""
    return _scores_of(trial, "scores", seeds=True)


def untrained_losses(run: RunFiles) -> Scores | None:
    """Validation losses per item of the untrained model; None if several models compete."""
    base = next((baseline for baseline in run.baselines if baseline.name == "zero_shot"), None)
    if base is None or len(run.plan.facts.models) > 1 or not _usable([base.item_losses]):
        return None
    return Scores.of([base.item_losses], seed_noise=False, weights=base.item_weights or None)


def _scores_of(trial: TrialFiles, field: str, *, seeds: bool) -> Scores | None:
    """A field of the validation items, of all trainings; without ``seeds``, of the trial's own."""
    if seeds:
        items_of_trainings = [run.items for run in trial.trainings() if run.items is not None]
    else:
        items_of_trainings = [trial.items] if trial.items is not None else []
    rows = [getattr(items, field) for items in items_of_trainings]
    return Scores.of(rows, weights=items_of_trainings[0].weights) if _usable(rows) else None


def interval(estimate: Estimate, bounds: Bounds = UNBOUNDED) -> Interval:
    """An estimate as an ``Interval``: its ends are None if unknown, and cut to the bounds."""
    finite = np.isfinite([estimate.low, estimate.high]).all()
    unbounded = Interval(
        value=estimate.value,
        low=estimate.low if finite else None,
        high=estimate.high if finite else None,
        n=estimate.items,
    )
    return bounded(unbounded, bounds)


def _usable(rows: list[tuple[float, ...]]) -> bool:
    """Whether all rows are finite scores of the same items, at least two."""
    return (
        bool(rows)
        and len({len(row) for row in rows}) == 1
        and len(rows[0]) >= _MIN_ITEMS
        and all(np.isfinite(row).all() for row in rows)
    )


def suspected_labels(trainings: Sequence[TestScore], counted: Sequence[int]) -> list[int]:
    """Indices of items whose class is probably wrong, the most certain first.

    All trainings of one configuration predict the same other class, with a probability of at least
    its mean over correctly predicted items of that class: the threshold of confident learning
    (Northcutt et al. 2021, arXiv:1911.00068, section 3.1), with models that saw none of these
    items. The class in the data also has at most ``_MAX_CLASS_PROBABILITY``: without this limit, an
    unsure model of a hard task would suspect many items that it gets wrong itself.

    Args:
        counted: Indices of the scored items.
    """
    rows = [
        training
        for training in trainings
        if training.predicted and len(training.predicted) == len(training.item_losses)
    ]
    if not rows or not _usable([training.item_losses for training in rows]):
        return []
    predicted = np.array([training.predicted for training in rows])
    label_probability = np.exp(-np.array([training.item_losses for training in rows])).mean(axis=0)
    confidence = np.array([training.confidence for training in rows]).mean(axis=0)
    agreed = (predicted == predicted[0]).all(axis=0)
    wrong = agreed & ~np.array([training.item_scores for training in rows]).astype(bool).any(axis=0)
    right = np.array(rows[0].item_scores, dtype=bool)
    scored = np.isin(np.arange(right.size), counted)
    wrong, right = wrong & scored, right & scored
    items = []
    for item in np.flatnonzero(wrong):
        correct_probabilities = label_probability[right & (predicted[0] == predicted[0][item])]
        confident = correct_probabilities.size and confidence[item] >= correct_probabilities.mean()
        if confident and label_probability[item] <= _MAX_CLASS_PROBABILITY:
            items.append(int(item))
    return sorted(items, key=lambda item: label_probability[item] - confidence[item])
