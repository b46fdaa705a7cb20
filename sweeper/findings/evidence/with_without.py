"""Did something pay? A trial with it beside a trial without, of one strategy, on validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.findings import words
from sweeper.findings.evidence.gains import strategies_of
from sweeper.findings.evidence.paired_trials import Judged, Pair
from sweeper.findings.record import PairFinding
from sweeper.findings.study.metric import margin, objective_metric
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.scores import interval


def with_and_without(
    run: RunFiles, has: Callable[[TrialFiles], bool | None], rest: Callable[[TrialFiles], object]
) -> list[Pair]:
    """A trial without something and one with it, of each strategy that completed both: two that
    differ in nothing else, or else the best of each.

    Args:
        run: The study.
        has: Whether a trial has it; None where that is not known.
        rest: All else of a trial's configuration.
    """
    pairs: list[Pair] = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.completed if trial.config.strategy == strategy]
        having = [trial for trial in trials if has(trial) is True]
        lacking = [trial for trial in trials if has(trial) is False]
        same = ((o, w) for w in having for o in lacking if rest(w) == rest(o))
        if having and lacking:
            pairs.append(next(same, (lacking[0], having[0])))
    return pairs


def compared(
    run: RunFiles, pair: Pair, judged: Judged, rest: Callable[[TrialFiles], object]
) -> dict[str, Any]:
    """The fields of ``PairFinding``."""
    without, with_it = pair
    judgement = judged.of(without, with_it)
    smallest = margin(run.plan.facts.aim.margin_points)
    return {
        "strategy": with_it.config.strategy,
        "with_trial": with_it.config.number,
        "without_trial": without.config.number,
        "same_configuration": rest(with_it) == rest(without),
        "gain": interval(judgement.estimate) if judgement else None,
        "outcome": judgement.turned().outcome(smallest) if judgement else None,
        "comparisons": judgement.comparisons if judgement else 1,
    }


def pair_words(run: RunFiles, finding: PairFinding, what: str) -> str:
    """The comparison as a report says it, without its last full stop."""
    outcome = "not compared"
    if finding.outcome is not None and finding.gain is not None:
        smallest = margin(run.plan.facts.aim.margin_points)
        outcome = words.outcome(finding.outcome, finding.gain, finding.comparisons, smallest)
    metric = objective_metric(run.plan)
    gap = words.difference(finding.gain, metric)
    title, pairing = metric.title, words.minus_of("without", "with", metric)
    pair = "otherwise the same" if finding.same_configuration else "the best of each"
    return (
        f"{what}, {words.strategy(finding.strategy)}: {title} {pairing} = {gap}: "
        f"{outcome} with it (trial {finding.without_trial} against trial {finding.with_trial}, "
        f"{pair})"
    )
