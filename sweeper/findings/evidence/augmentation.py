"""Did augmentation pay? Trials with augmented rows beside trials without, on validation."""

from __future__ import annotations

from sweeper.data.examples import augmented_by
from sweeper.findings import words
from sweeper.findings.evidence.gains import strategies_of
from sweeper.findings.evidence.paired_trials import Judged, Pair, with_and_without
from sweeper.findings.record import AugmentationFinding
from sweeper.findings.study.metric import loss_metric, margin
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.scores import interval
from sweeper.hyperparameters import AUGMENTED, NO_AUGMENTED


def augmentation_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with augmented rows, of each strategy that completed both."""
    pairs = (_pair(run, strategy) for strategy in strategies_of(run))
    return [pair for pair in pairs if pair is not None]


def augmentation_findings(run: RunFiles, judged: Judged) -> tuple[AugmentationFinding, ...]:
    """One for each strategy that completed trials both with and without augmented rows."""
    return tuple(_finding(run, pair, judged) for pair in augmentation_pairs(run))


def augmentation_sentence(run: RunFiles, finding: AugmentationFinding) -> str:
    """The finding as a report says it."""
    gap = words.difference(finding.gain, loss_metric(run.plan.facts))
    pair = "otherwise the same" if finding.same_configuration else "the best of each"
    outcome = "not compared"
    if finding.outcome is not None and finding.gain is not None:
        smallest = margin(run.plan.facts.aim.margin_points)
        outcome = words.outcome(finding.outcome, finding.gain, finding.comparisons, smallest)
    return (
        f"Augmented rows, {words.strategy(finding.strategy)}: validation loss without − with = "
        f"{gap}: {outcome} with them (trial {finding.without_trial} against trial "
        f"{finding.with_trial}, {pair}). {finding.augmented_rows:,} of the "
        f"{finding.rows:,} rows that trial {finding.with_trial} trained on were augmented ones."
    )


def _pair(run: RunFiles, strategy: str) -> Pair | None:
    if run.plan.facts.data.augmentation is None:
        return None
    trials = [
        trial
        for trial in run.completed
        if trial.config.strategy == strategy and AUGMENTED in trial.config.parameters
    ]
    return with_and_without(trials, _augmented, _rest)


def _augmented(trial: TrialFiles) -> bool:
    return trial.config.parameters[AUGMENTED] != NO_AUGMENTED


def _rest(trial: TrialFiles) -> dict[str, object]:
    return {name: v for name, v in trial.config.parameters.items() if name != AUGMENTED}


def _finding(run: RunFiles, pair: Pair, judged: Judged) -> AugmentationFinding:
    without, with_them = pair
    judgement = judged.of(without, with_them)
    smallest = margin(run.plan.facts.aim.margin_points)
    seen = with_them.result.seen if with_them.result else {}
    methods = run.plan.facts.data.augmentation
    made = {augmented_by(method) for method in (methods.methods if methods else ())}
    return AugmentationFinding(
        strategy=with_them.config.strategy,
        with_trial=with_them.config.number,
        without_trial=without.config.number,
        same_configuration=_rest(with_them) == _rest(without),
        gain=interval(judgement.estimate) if judgement else None,
        outcome=judgement.turned().outcome(smallest) if judgement else None,
        comparisons=judgement.comparisons if judgement else 1,
        augmented_rows=sum(one.rows for name, one in seen.items() if name in made),
        rows=sum(one.rows for one in seen.values()),
    )
