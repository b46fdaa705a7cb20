"""Metrics that people read and that got worse although the loss got better.

A loss says how likely the reference is, not how good an answer is: both can move apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sweeper import units
from sweeper.evaluation.significance import (
    Estimate,
    Scores,
    holm,
    paired_difference,
)
from sweeper.findings import words
from sweeper.findings.figures import Comparison, Metric
from sweeper.findings.study.item_scores import entries, model_title, trial_name
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.comparisons import Contest, comparison_of
from sweeper.metrics.base import metrics
from sweeper.trials import GeneratedAnswers, TestScore


def worsened(run: RunFiles, contest: Contest) -> tuple[Comparison, ...]:
    """Where the chosen finalist is worse, beyond noise, than a model that it beats in test loss.

    The headline metric over all seeds, and the metrics of written answers. Answers are those of one
    training, so that their noise is that of the items.
    """
    if contest.chosen is None or not run.plan.objective.is_loss:  # the user said what counts
        return ()
    losses = contest.in_loss if contest.metric.higher_is_better else contest.comparisons
    beaten = [one.second for one in losses if one.outcome == "better"]
    headline = [one for one in map(contest.against, beaten) if one and one.outcome == "worse"]
    return (*headline, *_of_answers(run, trial_name(contest.chosen.trial), beaten))


def worsened_sentence(run: RunFiles, fallen: tuple[Comparison, ...]) -> str:
    """What got worse, each metric once; empty if nothing did."""
    if not fallen:
        return ""
    by_metric = {one.metric: one for one in reversed(fallen)}
    gaps = [
        f"{metric.title} {words.difference(one.difference, metric)} against "
        f"{model_title(run, one.second)}"
        for one in reversed(by_metric.values())
        for metric in (_metric(one.metric),)
    ]
    return f" The test loss is better, but not what people read: {units.joined(gaps)}."


def _of_answers(run: RunFiles, first: str, seconds: list[str]) -> Iterator[Comparison]:
    """Metrics of written answers that are worse, with Holm's correction over all of them."""
    wrote = {name: _generated(of_model) for name, of_model in entries(run).items()}
    own = wrote.get(first)
    estimates: dict[tuple[str, str], Estimate] = {}
    for second in seconds:
        other = wrote.get(second)
        for name in own.item_metrics if own and other else ():
            scores = _paired(name, own, other)
            if scores is not None:
                estimates[second, name] = paired_difference(*scores)
    adjusted = holm([estimate.p for estimate in estimates.values()])
    for ((second, name), estimate), p in zip(estimates.items(), adjusted, strict=True):
        metric = _metric(name)
        smallest = run.margin if metric.unit == "points" else 100 * run.margin
        pair, count = (first, second), len(estimates)
        comparison = comparison_of(pair, metric, estimate, p, smallest, count)
        if comparison.outcome == "worse":
            yield comparison


def _generated(scores: list[TestScore]) -> GeneratedAnswers | None:
    return next((one.generated for one in scores if one.generated is not None), None)


def _paired(
    name: str, first: GeneratedAnswers | None, second: GeneratedAnswers | None
) -> tuple[Scores, Scores] | None:
    """A metric of both on the items that both answered; None where there are none."""
    if first is None or second is None or name not in second.item_metrics:
        return None
    values = [
        dict(zip(one.places, one.item_metrics[name], strict=False)) for one in (first, second)
    ]
    shared = sorted(set(values[0]).intersection(values[1]))
    rows = [np.array([one[place] for place in shared]) for one in values]
    if len(shared) < 2 or not np.isfinite(rows).all():
        return None
    one, other = (Scores.of([row], trained=False) for row in rows)
    return one, other


def _metric(name: str) -> Metric:
    known = metrics()[name]
    unit = "points" if known.unit == "%" else ""
    return Metric(name=name, title=known.title, higher_is_better=True, unit=unit)
