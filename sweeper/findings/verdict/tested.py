"""The models on the opened test split: their figures side by side, and one class by class."""

from __future__ import annotations

import statistics

from sweeper.evaluation.significance import mean_interval
from sweeper.findings.record import TestedModel
from sweeper.findings.study.item_scores import (
    entries,
    interval,
    model_title,
    test_losses,
    test_scores,
)
from sweeper.findings.study.metric import LOSS, headline, score_bounds
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.trial_rows import finite
from sweeper.trials import GeneratedAnswers, TestScore


def tested_models(run: RunFiles) -> tuple[TestedModel, ...]:
    """Finalists in their order, then the other trials, then the baselines."""
    scores, losses = test_scores(run), test_losses(run)
    grouped = entries(run)
    bounds = score_bounds(headline(run.plan, run.seal))
    places = {number: place for place, number in enumerate(run.seal.order if run.seal else ())}

    def rank(name: str) -> tuple[int, int]:
        trial = grouped[name][0].trial
        return (2, 0) if trial is None else (int(trial not in places), places.get(trial, trial))

    return tuple(
        TestedModel(
            name=name,
            title=model_title(run, name),
            trial=grouped[name][0].trial,
            seeds=len(grouped[name]),
            score=interval(mean_interval(scores.by_name[name]), bounds),
            loss=interval(mean_interval(losses[name]), LOSS) if name in losses else None,
            metrics=finite(scores.metrics.get(name, {})),
            generated=_generated(grouped[name]),
            seconds_per_thousand=_seconds_per_thousand(grouped[name]),
        )
        for name in sorted(scores.by_name, key=rank)
    )


def _seconds_per_thousand(scores: list[TestScore]) -> float | None:
    """The median over trainings: the first one may wait for files and compilers."""
    wrote = [(s.generated.greedy_seconds, s.generated.items) for s in scores if s.generated]
    read = [(s.seconds, len(s.item_scores)) for s in scores]
    paces = [1000 * took / items for took, items in wrote or read if took is not None and items]
    return statistics.median(paces) if paces else None


def _generated(scores: list[TestScore]) -> GeneratedAnswers | None:
    """Written answers, of the one training that wrote some."""
    found = next((score.generated for score in scores if score.generated is not None), None)
    items: dict[str, object] = {"said": {}, "places": (), "item_metrics": {}}
    return found and found.model_copy(update={"metrics": finite(found.metrics), **items})
