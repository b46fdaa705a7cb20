"""Does each strategy pay? Its test score against that of the best baseline.

The strategy's scored trial with the lowest validation loss speaks for it: a finalist, or its
default. It was chosen among all scored trials, so that Holm's correction is taken over them.
"""

from __future__ import annotations

from sweeper.evaluation.significance import holm, outcome
from sweeper.findings.figures import Comparison
from sweeper.findings.record import StrategySummary
from sweeper.findings.study.metric import difference_bounds, margin
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.scores import interval, test_scores, trial_name
from sweeper.findings.verdict.comparisons import Contest, pair_estimates


def against_baseline(
    run: RunFiles, contest: Contest, summaries: tuple[StrategySummary, ...]
) -> tuple[StrategySummary, ...]:
    """The summaries with each strategy's comparison, where it could be made."""
    if contest.baseline is None:
        return summaries
    tests = test_scores(run)
    name = contest.baseline.name
    strategies = {trial_name(one.config.number): one.config.strategy for one in run.completed}
    scored = [first for first in strategies if first in tests.by_name]  # best first
    estimates = {
        pair[0]: one for pair, one in pair_estimates(tests.by_name, scored, [name]).items()
    }
    adjusted = holm([estimate.p for estimate in estimates.values()])
    smallest = margin(run.plan.facts.aim.margin_points)
    found: dict[str, Comparison] = {}
    for (first, estimate), p in zip(estimates.items(), adjusted, strict=True):
        comparison = Comparison(
            first=first,
            second=name,
            metric=contest.metric.name,
            difference=interval(estimate, difference_bounds(contest.metric)),
            outcome=outcome(estimate, smallest, contest.metric.higher_is_better, p),
            adjusted_p=p,
            comparisons=len(estimates),
        )
        found.setdefault(strategies[first], comparison)
    return tuple(
        summary.model_copy(update={"against_baseline": found.get(summary.strategy)})
        for summary in summaries
    )
