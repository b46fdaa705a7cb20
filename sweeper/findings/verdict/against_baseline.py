"""Does each strategy pay? Its test score against that of the best baseline.

The strategy's scored trial with the lowest validation loss speaks for it: a finalist, or its
default. One question a strategy, so that Holm's correction is taken over strategies.
"""

from __future__ import annotations

from sweeper.evaluation.significance import Estimate, holm, outcome, paired_difference
from sweeper.findings.figures import Comparison
from sweeper.findings.record import StrategySummary
from sweeper.findings.study.metric import difference_bounds, margin
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.scores import TestScores, interval, test_scores, trial_name
from sweeper.findings.verdict.comparisons import Contest


def against_baseline(
    run: RunFiles, contest: Contest, summaries: tuple[StrategySummary, ...]
) -> tuple[StrategySummary, ...]:
    """The summaries with each strategy's comparison, where it could be made."""
    if contest.baseline is None:
        return summaries
    tests = test_scores(run)
    name = contest.baseline.name
    estimates: dict[str, tuple[TrialFiles, Estimate]] = {}
    for summary in summaries:
        trial = _speaker(run, summary.strategy, tests)
        if trial is None:
            continue
        first, second = tests.by_name[trial_name(trial.config.number)], tests.by_name[name]
        if first.items.shape[1] == second.items.shape[1]:
            estimates[summary.strategy] = trial, paired_difference(first, second)
    adjusted = holm([estimate.p for _, estimate in estimates.values()])
    smallest = margin(run.plan.facts.aim.margin_points)
    found = {
        strategy: Comparison(
            first=trial_name(trial.config.number),
            second=name,
            metric=contest.metric.name,
            difference=interval(estimate, difference_bounds(contest.metric)),
            outcome=outcome(estimate, smallest, contest.metric.higher_is_better, p),
            adjusted_p=p,
            comparisons=len(estimates),
        )
        for (strategy, (trial, estimate)), p in zip(estimates.items(), adjusted, strict=True)
    }
    return tuple(
        summary.model_copy(update={"against_baseline": found.get(summary.strategy)})
        for summary in summaries
    )


def _speaker(run: RunFiles, strategy: str, tests: TestScores) -> TrialFiles | None:
    return next(
        (
            trial
            for trial in run.completed
            if trial.config.strategy == strategy
            and trial_name(trial.config.number) in tests.by_name
        ),
        None,
    )
