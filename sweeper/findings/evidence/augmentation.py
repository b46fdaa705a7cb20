"""Did augmentation pay? Trials with augmented rows beside trials without, on validation."""

from __future__ import annotations

from sweeper.data.examples import augmented_by
from sweeper.findings.evidence.paired_trials import Judged, Pair
from sweeper.findings.evidence.with_without import compared, pair_words, with_and_without
from sweeper.findings.record import AugmentationFinding
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.hyperparameters import AUGMENTED, NO_AUGMENTED


def augmentation_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with augmented rows, of each strategy that completed both."""
    return with_and_without(run, _augmented, _rest)


def augmentation_findings(run: RunFiles, judged: Judged) -> tuple[AugmentationFinding, ...]:
    """One for each strategy that completed trials both with and without augmented rows."""
    return tuple(_finding(run, pair, judged) for pair in augmentation_pairs(run))


def augmentation_sentence(run: RunFiles, finding: AugmentationFinding) -> str:
    """The finding as a report says it."""
    return (
        f"{pair_words(run, finding, 'Augmented rows')}. {finding.augmented_rows:,} of the "
        f"{finding.rows:,} rows that trial {finding.with_trial} trained on were augmented ones."
    )


def _augmented(trial: TrialFiles) -> bool | None:
    """Whether it trained on them; None for a strategy that cannot."""
    way = trial.config.parameters.get(AUGMENTED)
    return None if way is None else way != NO_AUGMENTED


def _rest(trial: TrialFiles) -> dict[str, object]:
    return {name: v for name, v in trial.config.parameters.items() if name != AUGMENTED}


def _finding(run: RunFiles, pair: Pair, judged: Judged) -> AugmentationFinding:
    seen = pair[1].result.seen if pair[1].result else {}
    augmentation = run.plan.facts.data.augmentation
    made = set(map(augmented_by, augmentation.methods if augmentation else ()))
    return AugmentationFinding(
        **compared(run, pair, judged, _rest),
        augmented_rows=sum(one.rows for name, one in seen.items() if name in made),
        rows=sum(one.rows for one in seen.values()),
    )
