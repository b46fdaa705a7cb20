"""The predictions of a plan as values, each with the probability with which it should hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Number, Record
from sweeper.features.ledger.facts import LedgerFacts
from sweeper.features.parts import record_of
from sweeper.findings.study.model_strategy_pairs import with_strategies_on_models
from sweeper.memory.estimate import trial_gib
from sweeper.planning.costs.corrections import (
    MemoryFactors,
    interval_factor,
    shrunk_to_half,
)
from sweeper.plans import Candidate, Duration, Plan, Quality
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel, changes_base

Kind = Literal[
    "memory", "trial-time", "sweep-time", "money", "best-loss", "search-gain", "strategy-gap",
    "rule-gap", "more-rows", "best-strategy", "fine-tuning-pays",
]  # fmt: skip
Unit = Literal["GiB", "s", "USD", "share", "points", "percent", "probability"]
WhyNotJudged = Literal["not-measured", "other-work", "no-points"]
"""Why a prediction is not judged: no figure was measured; the run did other work than was planned,
such as without a phase; or the metric is not in points."""

#: Files of a run, in the folder of this feature.
PREDICTIONS, SCORES = "predictions.json", "scores.json"
#: The probability that an interval of a plan contains the measured value, and half the interval's
#: width in standard deviations.
LEVEL, DEVIATIONS = 0.9, 1.645
#: Units of differences, which may be negative.
DIFFERENCES: frozenset[Unit] = frozenset({"points", "percent"})
# The lowest validation loss as a share of the loss of guessing, with a 90% interval: the prediction
# interval of the logarithms of the best recorded trials (benchmarks/search/tables). With classes,
# ten tasks from 0.045 to 0.81; guessing itself is the upper end. With texts, three: 0.14
# (restaurants), 0.057 (benchmarks/rates/apertus.jsonl), 0.048 (PEFT's method comparison of
# Llama-3.2-3B, the lowest loss of training).
_LOSS_OF_CLASSES, _LOSS_OF_TEXTS = (0.26, 0.02, 1.0), (0.07, 0.01, 0.5)
# Per cent by which twice the rows lower the loss of the winner, and half the 90% interval: a
# prediction interval of six curves with three doublings (benchmarks/data_curve). The exponents of
# Hestness et al. 2017 (arXiv:1712.00409), 0.07 to 0.35, correspond to 5 to 22 per cent.
_MORE_ROWS, _MORE_ROWS_HALF_WIDTH = 15.0, 30.0
# The strategy with which the quality of others is compared.
_REFERENCE = StrategyOnModel("lora")


class PlanPrediction(Record):
    """One prediction of a plan.

    A quantity has the ends of its 90% interval. An event has its probability as ``value``, and is
    predicted to occur if this is a half or more.

    Args:
        against: The strategy that this one is compared with.
        rule: Id of the rule that makes the prediction; empty for the plan.
        stated: The probability with which the prediction should hold.
        widened: Factor by which earlier scores widened the interval, or moved a probability
            towards a half.
        widened_low: Factor on the lower end, if it differs.
    """

    kind: Kind
    strategy: StrategyOnModel = NO_STRATEGY
    against: StrategyOnModel = NO_STRATEGY
    rule: str = ""
    unit: Unit
    value: Number
    low: Number | None = None
    high: Number | None = None
    stated: float = Field(LEVEL, ge=0, le=1)
    widened: float = Field(1.0, ge=1)
    widened_low: float | None = Field(None, ge=1)


class Scored(PlanPrediction):
    """A prediction with what the run observed.

    Args:
        observed: The measured quantity, or 1 for an event that occurred and 0 for one that did not.
        error: Standard error of ``observed``, by which the interval is widened for the judgement.
        disturbed: Share of the time in which other programs had the processor. A time is judged
            without it.
        held: Whether the prediction held; None if it is not judged.
        open: Why it is not judged.
    """

    observed: Number | None = None
    error: Number = 0.0
    disturbed: float = Field(0.0, ge=0, lt=1)
    held: bool | None = None
    open: WhyNotJudged | None = None

    @property
    def undisturbed(self) -> float:
        """The observed value; of a time, the part in which no other programs had the processor."""
        return (self.observed or 0.0) * (1 - self.disturbed)

    @property
    def need(self) -> float | None:
        """The factor on the interval, before earlier scores widened it, that just makes it hold.

        It applies to both ends of an amount, and to the width of a difference. None for an event,
        or if not judged.
        """
        if self.held is None or self.low is None or self.high is None:
            return None
        if self.unit not in DIFFERENCES:
            return max(self.needs_of_ends)
        half = math.hypot((self.high - self.low) / 2 / self.widened, DEVIATIONS * self.error)
        return abs(self.undisturbed - self.value) / half if half else None

    @property
    def needs_of_ends(self) -> tuple[float, float]:
        """The needed factors on the lower and the upper end of a judged amount."""
        assert self.low is not None
        assert self.high is not None
        value, high = max(self.undisturbed, 1e-9), max(self.high / self.widened, 1e-9)
        return self.low * (self.widened_low or self.widened) / value, value / high


class Predictions(Artifact):
    """All predictions of a run's plan, made before its first trial.

    Args:
        id: Identifier of the run, so that a copy of its folder is not scored again.
    """

    id: str = Field(pattern="^[0-9a-f]{32}$")
    sweeper_version: str
    predictions: tuple[PlanPrediction, ...]


class RunScores(Artifact):
    """The scores of one run, written once."""

    scored: tuple[Scored, ...]


def predictions_of(plan: Plan) -> Iterator[PlanPrediction]:
    """Every prediction that a plan states as a value."""
    candidates = with_strategies_on_models(plan).candidates
    names = {(each.strategy.strategy, each.model): each.strategy for each in candidates}  # unique
    for candidate in candidates:
        yield _memory(candidate, MemoryFactors.of(plan.facts))
        yield _seconds(plan, "trial-time", candidate.duration, candidate.strategy)
        if candidate.strategy.strategy != _REFERENCE:
            reference = names.get((_REFERENCE, candidate.model), _REFERENCE)
            yield from _gaps(plan, candidate, reference)
    budget = plan.budget
    sweep = _seconds(plan, "sweep-time", budget.sweep)
    yield sweep
    usd, low, high = budget.cost_usd, budget.cost_low_usd, budget.cost_high_usd
    if usd is not None and low is not None and high is not None:
        money_fields = {"kind": "money", "unit": "USD", "value": usd, "low": low, "high": high}
        yield sweep.model_copy(update=money_fields)
    first = candidates[0]
    if plan.search_gain.sd:
        yield _points(plan, "search-gain", plan.search_gain, first.strategy)
    yield from _best_loss(plan)
    yield _more_rows(interval_factor(plan.facts, "more-rows"))
    if second := plan.runner_up:
        second_name = names[second.strategy, second.model]
        yield _event(plan, "best-strategy", second.probability, first.strategy, second_name)
    frozen = [each for each in candidates if not changes_base(each.strategy)]
    trained = [
        each for each in candidates if changes_base(each.strategy) and each.model == first.model
    ]
    if frozen and trained:
        probability = trained[0].quality.probability_above(frozen[0].quality)
        probability = shrunk_to_half(probability, interval_factor(plan.facts, "fine-tuning-pays"))
        names_compared = trained[0].strategy, frozen[0].strategy
        yield _event(plan, "fine-tuning-pays", probability, *names_compared)


def _best_loss(plan: Plan) -> Iterator[PlanPrediction]:
    """The prediction of the lowest validation loss, if the loss of guessing is known."""
    from sweeper.search.pruner import guessing_loss  # loads scipy, and each plan loads this module

    if math.isfinite(guessing_loss(plan)):
        prior = _LOSS_OF_CLASSES if plan.facts.task == "classification" else _LOSS_OF_TEXTS
        record = record_of(plan.facts.features, "ledger", LedgerFacts)
        value, low, high = (record.best_loss if record else None) or prior
        yield PlanPrediction(kind="best-loss", unit="share", value=value, low=low, high=high)


def _more_rows(widened: float) -> PlanPrediction:
    """The prediction of how much twice the rows lower the winner's loss, in per cent."""
    low, high = (
        _MORE_ROWS - widened * _MORE_ROWS_HALF_WIDTH,
        _MORE_ROWS + widened * _MORE_ROWS_HALF_WIDTH,
    )
    return PlanPrediction(
        kind="more-rows", unit="percent", value=_MORE_ROWS, low=low, high=high, widened=widened
    )


def _memory(candidate: Candidate, factors: MemoryFactors) -> PlanPrediction:
    """The prediction of a trial's measured peak, without process and driver."""
    memory = candidate.memory
    value = trial_gib(memory)
    overhead = memory.peak_gib - value
    low, high = max(0.0, memory.low_gib - overhead), memory.high_gib - overhead
    return PlanPrediction(
        kind="memory",
        strategy=candidate.strategy,
        unit="GiB",
        value=value,
        low=low,
        high=high,
        widened=factors.high,
        widened_low=factors.low,
    )


def _seconds(
    plan: Plan, kind: Kind, duration: Duration, strategy: StrategyOnModel = NO_STRATEGY
) -> PlanPrediction:
    """The prediction of a time. The interval of a sweep also has the factor of trials."""
    widened = interval_factor(plan.facts, "trial-time")
    if not strategy:
        widened *= interval_factor(plan.facts, "sweep-time")
    value, low, high = duration.seconds, duration.low, duration.high
    return PlanPrediction(
        kind=kind, strategy=strategy, unit="s", value=value, low=low, high=high, widened=widened
    )


def _gaps(plan: Plan, candidate: Candidate, reference: StrategyOnModel) -> Iterator[PlanPrediction]:
    """Predictions of a strategy's gap to LoRA, and the claims of rules about it."""
    yield _points(plan, "strategy-gap", candidate.quality, candidate.strategy, reference)
    for reason in candidate.reasons:
        if reason.gap is not None:
            yield _points(plan, "rule-gap", reason.gap, candidate.strategy, reference, reason.rule)


def _points(
    plan: Plan,
    kind: Kind,
    quality: Quality,
    strategy: StrategyOnModel,
    against: StrategyOnModel = NO_STRATEGY,
    rule: str = "",
) -> PlanPrediction:
    """The prediction of a difference in points."""
    half = DEVIATIONS * quality.sd
    return PlanPrediction(
        kind=kind,
        strategy=strategy,
        against=against,
        rule=rule,
        unit="points",
        value=quality.mean,
        low=quality.mean - half,
        high=quality.mean + half,
        widened=interval_factor(plan.facts, kind),
    )


def _event(
    plan: Plan, kind: Kind, probability: float, strategy: StrategyOnModel, against: StrategyOnModel
) -> PlanPrediction:
    """The prediction that a strategy's best trial beats that of another."""
    return PlanPrediction(
        kind=kind,
        strategy=strategy,
        against=against,
        unit="probability",
        value=probability,
        stated=max(probability, 1 - probability),
        widened=interval_factor(plan.facts, kind),
    )
