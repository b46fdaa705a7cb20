"""Scores of single items: test scores from ``test.json``, validation scores of trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeper.declared.traits import find
from sweeper.evaluation.significance import Estimate, Scores, with_shared_seeds
from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.study.metric import UNBOUNDED, Bounds, bounded
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.trials import TestScore


@dataclass(frozen=True)
class TestScores:
    """Every model that was scored on the test split, by its name in the comparisons."""

    __test__ = False

    by_name: dict[str, Scores]
    metrics: dict[str, dict[str, float]]
    by_seed: dict[tuple[int, int], float]


def trial_name(number: int) -> str:
    """The name of a trial in comparisons."""
    return f"trial-{number}"


def model_title(run: RunFiles, name: str) -> str:
    """A compared model in words: ``trial 7 (LoRA)``, or a baseline's title."""
    for baseline in run.baselines:
        if baseline.name == name:
            return baseline.title
    for trial in run.trials:
        if trial_name(trial.config.number) == name:
            return f"trial {trial.config.number} ({words.short(trial.config.strategy)})"
    return name


def test_scores(run: RunFiles) -> TestScores:
    """The scores of the test split; none before it was scored."""
    found: dict[str, Scores] = {}
    metrics: dict[str, dict[str, float]] = {}
    for name, of_model in entries(run).items():
        rows = [entry.item_scores for entry in of_model]
        if usable(rows):
            trained = of_model[0].trial is not None
            weights = _weights(of_model) if run.plan.objective.is_loss else None
            found[name] = Scores.of(rows, trained=trained, weights=weights)
            metrics[name] = mean_metrics([entry.metrics for entry in of_model])
    return TestScores(_shared(run, found), metrics, _by_seed(run))


def _shared(run: RunFiles, found: dict[str, Scores]) -> dict[str, Scores]:
    """Scores whose seeds tell of each other: those of trials that train the base or its adapter.

    A head on fixed features has seeds that differ far less, so that heads are apart.
    """
    kinds: dict[bool, dict[str, Scores]] = {}
    for trial in run.trials:
        name = trial_name(trial.config.number)
        traits = find(trial.config.strategy.partition("@")[0])
        if name in found:
            through = traits is None or traits.gradients_through_base
            kinds.setdefault(through, {})[name] = found[name]
    shared = [with_shared_seeds(models) for models in kinds.values()]
    return found | {name: one for models in shared for name, one in models.items()}


def test_losses(run: RunFiles) -> dict[str, Scores]:
    """Losses of the single test items of every scored model, by its name in the comparisons."""
    found = {
        name: Scores.of(rows, trained=of_model[0].trial is not None, weights=_weights(of_model))
        for name, of_model in entries(run).items()
        if usable(rows := [entry.item_losses for entry in of_model])
    }
    return _shared(run, found)


def entries(run: RunFiles) -> dict[str, list[TestScore]]:
    """The scores of the opened seal by model: one entry for each seed."""
    grouped: dict[str, list[TestScore]] = {}
    for entry in run.seal.scores if run.seal else ():
        name = entry.name if entry.trial is None else trial_name(entry.trial)
        grouped.setdefault(name, []).append(entry)
    return grouped


def _weights(found: list[TestScore]) -> tuple[float, ...] | None:
    """The weight of each test item; None where all count alike or it was not kept."""
    weights = found[0].item_weights
    fits = len(weights) == len(found[0].item_scores) and sum(weights) > 0
    return weights if fits else None


def mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over seeds, where all of them are numbers."""
    names = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return {name: value for name, value in means.items() if np.isfinite(value)}


def validation_losses(trial: TrialFiles, *, seeds: bool = True) -> Scores | None:
    """Validation losses of single items: of all trainings of a trial, or of its own only."""
    return _of(trial, "losses", seeds=seeds)


def validation_scores(trial: TrialFiles) -> Scores | None:
    """Headline scores of single validation items, over all trainings of a trial."""
    return _of(trial, "scores", seeds=True)


def untrained_losses(run: RunFiles) -> Scores | None:
    """Validation losses of single items of the untrained model; None where several compete."""
    found = next((one for one in run.baselines if one.name == "zero_shot"), None)
    if found is None or len(run.plan.facts.models) > 1 or not usable([found.item_losses]):
        return None
    return Scores.of([found.item_losses], trained=False, weights=found.item_weights or None)


def _of(trial: TrialFiles, field: str, *, seeds: bool) -> Scores | None:
    if seeds:
        found = [run.items for run in trial.trainings() if run.items is not None]
    else:
        found = [trial.items] if trial.items is not None else []
    rows = [getattr(items, field) for items in found]
    return Scores.of(rows, weights=found[0].weights) if usable(rows) else None


def interval(estimate: Estimate, bounds: Bounds = UNBOUNDED) -> Interval:
    """An estimate as findings keep it: unknown ends as None, none where the figure cannot lie."""
    finite = np.isfinite([estimate.low, estimate.high]).all()
    found = Interval(
        value=estimate.value,
        low=estimate.low if finite else None,
        high=estimate.high if finite else None,
        n=estimate.items,
    )
    return bounded(found, bounds)


def usable(rows: list[tuple[float, ...]]) -> bool:
    """Whether these are finite scores of the same items, at least two."""
    return (
        bool(rows)
        and len({len(row) for row in rows}) == 1
        and len(rows[0]) > 1
        and all(np.isfinite(row).all() for row in rows)
    )


def _by_seed(run: RunFiles) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for entry in run.seal.scores if run.seal else ():
        if entry.trial is None or not usable([entry.item_scores]):
            continue
        trial = run.trial(entry.trial)
        seed = entry.seed if entry.seed is not None else trial.config.seed if trial else None
        if seed is not None:
            weights = _weights([entry]) if run.plan.objective.is_loss else None
            found[entry.trial, seed] = Scores.of([entry.item_scores], weights=weights).mean
    return found
