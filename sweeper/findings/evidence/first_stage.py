"""Did reading the corpus first help? Trials with a first stage against those without.

One strategy at a time, and where there is one on a pair that differs in nothing else.
"""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.findings.evidence.gains import strategies_of
from sweeper.findings.evidence.paired_trials import Judged, Pair, with_and_without
from sweeper.findings.record import FirstStageFinding
from sweeper.findings.study.metric import loss_metric, margin
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.scores import interval
from sweeper.hyperparameters import FIRST_STAGE


def first_stage_findings(run: RunFiles, judged: Judged) -> tuple[FirstStageFinding, ...]:
    """One for each strategy that completed trials both with and without a first stage."""
    return tuple(_finding(run, pair, judged) for pair in first_stage_pairs(run))


def first_stage_pairs(run: RunFiles) -> list[Pair]:
    """A trial without and one with a first stage, of each strategy that completed both."""
    pairs = (_pair(run, strategy) for strategy in strategies_of(run))
    return [pair for pair in pairs if pair is not None]


def first_stage_sentence(run: RunFiles, finding: FirstStageFinding) -> str:
    """The finding as a report says it."""
    pair = "otherwise the same" if finding.same_configuration else "the best of each"
    gap = words.difference(finding.gain, loss_metric(run.plan.facts))
    text = (
        f"Reading the corpus first, {words.strategy(finding.strategy)}: validation loss without − "
        f"with = {gap}: {_outcome(run, finding)} with it (trial {finding.without_trial} against "
        f"trial {finding.with_trial}, {pair}). It read {finding.tokens:,} tokens in "
        f"{units.duration(finding.seconds)}"
    )
    before, after = finding.held_out_loss_before, finding.held_out_loss_after
    if before is not None and after is not None:
        text += (
            f"; on documents that it did not read the loss went from {words.loss(before)} to "
            f"{words.loss(after)} nats/token"
        )
    return f"{text}."


def _outcome(run: RunFiles, finding: FirstStageFinding) -> str:
    if finding.outcome is None or finding.gain is None:
        return "not compared"
    smallest = margin(run.plan.facts.aim.margin_points)
    return words.outcome(finding.outcome, finding.gain, finding.comparisons, smallest)


def _pair(run: RunFiles, strategy: str) -> Pair | None:
    """Two trials that differ only in the first stage, or else the best of each."""
    trials = [trial for trial in run.completed if trial.config.strategy == strategy]
    return with_and_without(trials, lambda t: bool(t.result and t.result.first_stage), _other)


def _finding(run: RunFiles, pair: Pair, judged: Judged) -> FirstStageFinding:
    without, with_it = pair
    stage = with_it.result.first_stage if with_it.result else None
    assert stage is not None
    judgement = judged.of(without, with_it)
    smallest = margin(run.plan.facts.aim.margin_points)
    return FirstStageFinding(
        strategy=with_it.config.strategy,
        with_trial=with_it.config.number,
        without_trial=without.config.number,
        same_configuration=_other(with_it) == _other(without),
        gain=interval(judgement.estimate) if judgement else None,
        outcome=judgement.turned().outcome(smallest) if judgement else None,
        comparisons=judgement.comparisons if judgement else 1,
        tokens=stage.tokens,
        seconds=stage.seconds,
        held_out_loss_before=stage.held_out_loss_before,
        held_out_loss_after=stage.held_out_loss_after,
    )


def _other(trial: TrialFiles) -> dict[str, object]:
    """The configuration without what concerns the first stage."""
    parameters = trial.config.parameters.items()
    return {name: value for name, value in parameters if not name.startswith(FIRST_STAGE)}
