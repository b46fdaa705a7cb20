"""Did reading the corpus first pay? Trials with a first stage beside trials without, on validation.

One strategy at a time, and where there is one on a pair that differs in nothing else.
"""

from __future__ import annotations

from sweeper import units
from sweeper.evaluation.significance import Estimate, outcome, paired_difference
from sweeper.findings import words
from sweeper.findings.gains import strategies_of
from sweeper.findings.metric import loss_metric, margin
from sweeper.findings.reading import RunFiles, TrialFiles
from sweeper.findings.record import FirstStageFinding
from sweeper.findings.scores import interval, validation_losses
from sweeper.planning.first_stage import NAME


def first_stage_findings(run: RunFiles) -> tuple[FirstStageFinding, ...]:
    """One for each strategy that completed trials both with and without a first stage."""
    found = (_of_strategy(run, strategy) for strategy in strategies_of(run))
    return tuple(finding for finding in found if finding is not None)


def first_stage_sentence(run: RunFiles, finding: FirstStageFinding) -> str:
    """The finding as a report says it."""
    pair = "otherwise the same" if finding.same_configuration else "the best of each"
    gap = words.difference(finding.gain, loss_metric(run.plan.facts))
    text = (
        f"Reading the corpus first, {words.strategy(finding.strategy)}: validation loss without − "
        f"with = {gap}: {finding.outcome} with it (trial {finding.without_trial} against trial "
        f"{finding.with_trial}, {pair}). It read {finding.tokens:,} tokens in "
        f"{units.duration(finding.seconds)}"
    )
    before, after = finding.held_out_loss_before, finding.held_out_loss_after
    if before is not None and after is not None:
        text += (
            f"; on documents that it did not read the loss went from {words.loss(before)} to "
            f"{words.loss(after)} nats/token"
        )
    return f"{text}."


def _of_strategy(run: RunFiles, strategy: str) -> FirstStageFinding | None:
    trials = [trial for trial in run.completed if trial.config.strategy == strategy]
    read = [trial for trial in trials if trial.result and trial.result.first_stage]
    skipped = [trial for trial in trials if trial.result and not trial.result.first_stage]
    if not read or not skipped:
        return None
    pairs = [(w, o) for w in read for o in skipped if _other(w) == _other(o)]
    with_it, without = pairs[0] if pairs else (read[0], skipped[0])
    stage = with_it.result.first_stage if with_it.result else None
    assert stage is not None
    gain = _gain(without, with_it)
    smallest = margin(run.plan.facts.aim.margin_points)
    return FirstStageFinding(
        strategy=strategy,
        with_trial=with_it.config.number,
        without_trial=without.config.number,
        same_configuration=bool(pairs),
        gain=interval(gain) if gain else None,
        outcome=outcome(gain, smallest, higher_is_better=True) if gain else None,
        tokens=stage.tokens,
        seconds=stage.seconds,
        held_out_loss_before=stage.held_out_loss_before,
        held_out_loss_after=stage.held_out_loss_after,
    )


def _other(trial: TrialFiles) -> dict[str, object]:
    """The configuration without what concerns the first stage."""
    parameters = trial.config.parameters.items()
    return {name: value for name, value in parameters if not name.startswith(NAME)}


def _gain(without: TrialFiles, with_it: TrialFiles) -> Estimate | None:
    first, second = validation_losses(without), validation_losses(with_it)
    if first is None or second is None or first.items.shape[1] != second.items.shape[1]:
        return None
    return paired_difference(first, second)
