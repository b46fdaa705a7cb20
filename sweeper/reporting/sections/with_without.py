"""Did something pay? Trials with it beside trials without, one strategy at a time, on validation.

That is a corpus that was read first (a first stage), and augmented rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from typing import Any

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import Interval, Lacking, Outcome
from sweeper.findings.record import Findings
from sweeper.findings.study.item_scores import interval
from sweeper.findings.study.paired_trials import ComparedPairs, Pair, compare_pairs
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategies import gain_pairs, strategies_of
from sweeper.hyperparameters import AUGMENTED, FIRST_STAGE, NO_AUGMENTED
from sweeper.trials import FirstStageResult

HEADING = Heading(60, "with-without", "With and without", "Did something pay?")


class PairFinding(Record):
    """A strategy's trials with and without something, compared on validation."""

    strategy: str
    with_trial: int
    without_trial: int
    same_configuration: bool = Field(description="the two differ in nothing else")
    gain: Interval | None = Field(None, description="positive is a gain of the trial with it")
    outcome: Outcome | None = Field(None, description="of the trial with it against the other")
    lacking: Lacking | None = Field(None, description="why nothing is claimed from the gain")
    comparisons: int = Field(1, description="that Holm's correction was taken over")


class FirstStageFinding(PairFinding):
    """A strategy's trials with and without a first stage. Tokens and seconds are the stage's own,
    and so are the losses on documents that it did not read (nats per token)."""

    tokens: int
    seconds: float
    held_out_loss_before: float | None = None
    held_out_loss_after: float | None = None


class AugmentationFinding(PairFinding):
    """A strategy's trials with and without augmented rows."""

    augmented_rows: int = Field(description="that the trial trained on, repetitions included")
    rows: int = Field(description="all that it trained on")


class Figures(Record):
    """One comparison for each strategy that completed both."""

    first_stage: tuple[FirstStageFinding, ...] = ()
    augmentation: tuple[AugmentationFinding, ...] = ()


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """A trial without and one with a first stage, and with augmented rows."""
    read = _pairs(run, lambda trial: _stage(trial) is not None, FIRST_STAGE)
    more = _pairs(run, _augmented, AUGMENTED)
    if not read and not more:
        return None
    # What the search compares is not compared a second time.
    compared = compare_pairs(gain_pairs(run), read, more)
    made = set(run.plan.facts.data.further_rows)
    return Figures(
        first_stage=tuple(
            FirstStageFinding.taken_from(
                _stage(pair[1]), **_compared(run, pair, compared, FIRST_STAGE)
            )
            for pair in read
        ),
        augmentation=tuple(_of_rows(run, pair, compared, made) for pair in more),
    )


def because(figures: Figures, findings: Findings) -> Iterator[str]:
    """Each comparison, with what the one trial had more."""
    for read in figures.first_stage:
        yield _first_stage_sentence(read, findings)
    for rows in figures.augmentation:
        yield _augmentation_sentence(rows, findings)


def _of_rows(
    run: RunFiles, pair: Pair, compared: ComparedPairs, made: Set[str]
) -> AugmentationFinding:
    seen = pair[1].result.seen if pair[1].result else {}
    return AugmentationFinding(
        **_compared(run, pair, compared, AUGMENTED),
        augmented_rows=sum(one.rows for name, one in seen.items() if name in made),
        rows=sum(one.rows for one in seen.values()),
    )


def _first_stage_sentence(finding: FirstStageFinding, findings: Findings) -> str:
    text = (
        f"{_told(findings, finding, 'Reading the corpus first')}. It read {finding.tokens:,} "
        f"tokens in {units.duration(finding.seconds)}"
    )
    before, after = finding.held_out_loss_before, finding.held_out_loss_after
    if before is not None and after is not None:
        text += (
            f"; on documents that it did not read the loss went from {words.loss(before)} to "
            f"{words.loss(after)} nats/token"
        )
    return f"{text}."


def _augmentation_sentence(finding: AugmentationFinding, findings: Findings) -> str:
    return (
        f"{_told(findings, finding, 'Augmented rows')}. {finding.augmented_rows:,} of the "
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


def _told(findings: Findings, finding: PairFinding, what: str) -> str:
    """The comparison as a report says it, without its last full stop."""
    outcome = "not compared"
    if finding.outcome is not None and finding.gain is not None:
        smallest = findings.margin_points / 100
        outcome = words.outcome(
            finding.outcome, finding.gain, finding.comparisons, smallest, finding.lacking
        )
    metric = findings.objective
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
