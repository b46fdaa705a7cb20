"""Did something pay? Trials with it beside trials without, one strategy at a time, on validation.

That is a corpus that was read first (a first stage), and augmented rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper import units
from sweeper.data.examples import augmented_by
from sweeper.findings import words
from sweeper.findings.evidence.gains import strategies_of
from sweeper.findings.evidence.paired_trials import ComparedPairs, Pair
from sweeper.findings.record import AugmentationFinding, FirstStageFinding, PairFinding
from sweeper.findings.study.item_scores import interval
from sweeper.findings.study.metric import objective_metric
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.hyperparameters import AUGMENTED, FIRST_STAGE, NO_AUGMENTED
from sweeper.trials import FirstStageResult


def first_stage_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with a first stage, of each strategy that completed both."""
    return _pairs(run, lambda trial: _stage(trial) is not None, FIRST_STAGE)


def augmentation_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with augmented rows, of each strategy that completed both."""
    return _pairs(run, _augmented, AUGMENTED)


def first_stage_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[FirstStageFinding, ...]:
    """One for each of ``first_stage_pairs``."""
    return tuple(
        FirstStageFinding.taken_from(_stage(pair[1]), **_compared(run, pair, pairs, FIRST_STAGE))
        for pair in first_stage_pairs(run)
    )


def augmentation_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[AugmentationFinding, ...]:
    """One for each of ``augmentation_pairs``."""
    augmentation = run.plan.facts.data.augmentation
    made = set(map(augmented_by, augmentation.methods if augmentation else ()))
    found = []
    for pair in augmentation_pairs(run):
        seen = pair[1].result.seen if pair[1].result else {}
        found.append(
            AugmentationFinding(
                **_compared(run, pair, pairs, AUGMENTED),
                augmented_rows=sum(one.rows for name, one in seen.items() if name in made),
                rows=sum(one.rows for one in seen.values()),
            )
        )
    return tuple(found)


def first_stage_sentence(run: RunFiles, finding: FirstStageFinding) -> str:
    """The finding as a report says it."""
    text = (
        f"{_told(run, finding, 'Reading the corpus first')}. It read {finding.tokens:,} "
        f"tokens in {units.duration(finding.seconds)}"
    )
    before, after = finding.held_out_loss_before, finding.held_out_loss_after
    if before is not None and after is not None:
        text += (
            f"; on documents that it did not read the loss went from {words.loss(before)} to "
            f"{words.loss(after)} nats/token"
        )
    return f"{text}."


def augmentation_sentence(run: RunFiles, finding: AugmentationFinding) -> str:
    """The finding as a report says it."""
    return (
        f"{_told(run, finding, 'Augmented rows')}. {finding.augmented_rows:,} of the "
        f"{finding.rows:,} rows that trial {finding.with_trial} trained on were augmented ones."
    )


def _stage(trial: TrialFiles) -> FirstStageResult | None:
    return trial.result.first_stage if trial.result else None


def _augmented(trial: TrialFiles) -> bool | None:
    """Whether it trained on augmented rows; None for a strategy that cannot."""
    way = trial.config.parameters.get(AUGMENTED)
    return None if way is None else way != NO_AUGMENTED


def _rest(trial: TrialFiles, about: str) -> dict[str, object]:
    """A trial's parameters but for those whose names begin so."""
    parameters = trial.config.parameters.items()
    return {name: value for name, value in parameters if not name.startswith(about)}


def _pairs(run: RunFiles, has: Callable[[TrialFiles], bool | None], about: str) -> list[Pair]:
    """A trial without something and one with it, of each strategy that completed both: two that
    differ in nothing else, or else the best of each."""
    pairs: list[Pair] = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.completed if trial.config.strategy == strategy]
        having = [trial for trial in trials if has(trial) is True]
        lacking = [trial for trial in trials if has(trial) is False]
        same = ((o, w) for w in having for o in lacking if _rest(w, about) == _rest(o, about))
        if having and lacking:
            pairs.append(next(same, (lacking[0], having[0])))
    return pairs


def _compared(run: RunFiles, pair: Pair, pairs: ComparedPairs, about: str) -> dict[str, Any]:
    """The fields of ``PairFinding``."""
    without, with_it = pair
    comparison = pairs.of(without, with_it)
    smallest = run.margin
    return {
        "strategy": with_it.config.strategy,
        "with_trial": with_it.config.number,
        "without_trial": without.config.number,
        "same_configuration": _rest(with_it, about) == _rest(without, about),
        "gain": interval(comparison.estimate) if comparison else None,
        "outcome": comparison.turned().outcome(smallest) if comparison else None,
        "lacking": comparison.lacking if comparison else None,
        "comparisons": comparison.comparisons if comparison else 1,
    }


def _told(run: RunFiles, finding: PairFinding, what: str) -> str:
    """The comparison as a report says it, without its last full stop."""
    outcome = "not compared"
    if finding.outcome is not None and finding.gain is not None:
        smallest = run.margin
        outcome = words.outcome(
            finding.outcome, finding.gain, finding.comparisons, smallest, finding.lacking
        )
    metric = objective_metric(run.plan)
    gap = words.difference(finding.gain, metric)
    title, pairing = metric.title, words.minus_of("without", "with", metric)
    pair = "otherwise the same" if finding.same_configuration else "the best of each"
    if finding.lacking == "seeds":
        pair += "; the interval covers the choice of items only"
    return (
        f"{what}, {words.strategy(finding.strategy)}: {title} {pairing} = {gap}: "
        f"{outcome} with it (trial {finding.without_trial} against trial {finding.with_trial}, "
        f"{pair})"
    )
