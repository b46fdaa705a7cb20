"""Did reading the corpus first help? Trials with a first stage against those without.

One strategy at a time, and where there is one on a pair that differs in nothing else.
"""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.findings.evidence.paired_trials import Judged, Pair
from sweeper.findings.evidence.with_without import compared, pair_words, with_and_without
from sweeper.findings.record import FirstStageFinding
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.hyperparameters import FIRST_STAGE


def first_stage_findings(run: RunFiles, judged: Judged) -> tuple[FirstStageFinding, ...]:
    """One for each strategy that completed trials both with and without a first stage."""
    return tuple(_finding(run, pair, judged) for pair in first_stage_pairs(run))


def first_stage_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with a first stage, of each strategy that completed both."""
    return with_and_without(run, _read, _other)


def first_stage_sentence(run: RunFiles, finding: FirstStageFinding) -> str:
    """The finding as a report says it."""
    text = (
        f"{pair_words(run, finding, 'Reading the corpus first')}. It read {finding.tokens:,} "
        f"tokens in {units.duration(finding.seconds)}"
    )
    before, after = finding.held_out_loss_before, finding.held_out_loss_after
    if before is not None and after is not None:
        text += (
            f"; on documents that it did not read the loss went from {words.loss(before)} to "
            f"{words.loss(after)} nats/token"
        )
    return f"{text}."


def _read(trial: TrialFiles) -> bool | None:
    return None if trial.result is None else trial.result.first_stage is not None


def _finding(run: RunFiles, pair: Pair, judged: Judged) -> FirstStageFinding:
    with_it = pair[1]
    stage = with_it.result.first_stage if with_it.result else None
    assert stage is not None
    return FirstStageFinding(
        **compared(run, pair, judged, _other),
        tokens=stage.tokens,
        seconds=stage.seconds,
        held_out_loss_before=stage.held_out_loss_before,
        held_out_loss_after=stage.held_out_loss_after,
    )


def _other(trial: TrialFiles) -> dict[str, object]:
    """The configuration without what concerns the first stage."""
    parameters = trial.config.parameters.items()
    return {name: value for name, value in parameters if not name.startswith(FIRST_STAGE)}
