"""The predictions of a plan as values, each with the probability with which it should hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Number, Record
from sweeper.findings.study.model_strategy_pairs import by_pair
from sweeper.memory.estimate import trial_gib
from sweeper.planning.costs.corrections import interval_factor
from sweeper.plans import Candidate, Duration, Plan, Quality
from sweeper.traits.traits import changes_base

Kind = Literal[
    "memory", "trial-time", "sweep-time", "money", "search-gain", "strategy-gap", "rule-gap",
    "best-strategy", "fine-tuning-pays",
]  # fmt: skip
Unit = Literal["GiB", "s", "USD", "points", "probability"]
Open = Literal["not-measured", "other-work", "no-points"]
"""Why a prediction is not judged: no figure was measured; the run did other work than was planned,
such as without a phase; or the metric is not in points."""

#: Files of a run, in the folder of this feature.
PREDICTIONS, SCORES = "predictions.json", "scores.json"
#: The probability that an interval of a plan contains the measured value, and its normal quantile.
LEVEL, DEVIATIONS = 0.9, 1.645
# The strategy with which the quality of others is compared.
_REFERENCE = "lora"


class PlanPrediction(Record):
    """One prediction of a plan.

    A quantity has the ends of its 90% interval. An event has its probability as ``value``, and is
    predicted to occur if that is at least a half.

    Args:
        against: The strategy that this one is compared with.
        rule: The rule whose claim it is.
        stated: The probability with which the prediction should hold.
        widened: Factor on the interval that earlier scores have led to.
    """

    kind: Kind
    strategy: str = ""
    against: str = ""
    rule: str = ""
    unit: Unit
    value: Number
    low: Number | None = None
    high: Number | None = None
    stated: float = Field(LEVEL, ge=0, le=1)
    widened: float = Field(1.0, ge=1)


class Scored(PlanPrediction):
    """A prediction with what the run observed.

    Args:
        observed: The measured quantity, or 1 for an event that occurred and 0 for one that did not.
        error: Standard error of ``observed``, by which the interval is widened for the judgement.
        disturbed: Share of the time in which other programs had the processor. A time is judged
            without it.
        held: None if it is not judged.
    """

    observed: Number | None = None
    error: Number = 0.0
    disturbed: float = Field(0.0, ge=0, lt=1)
    held: bool | None = None
    open: Open | None = None

    @property
    def own(self) -> float:
        """What was observed, without the time that other programs had."""
        return (self.observed or 0.0) * (1 - self.disturbed)

    @property
    def need(self) -> float | None:
        """The factor on the interval, before it was widened, at which the prediction just holds.

        For an amount the factor is on both ends, for a difference in points on their distance.
        """
        if self.held is None or self.low is None or self.high is None:
            return None
        if self.unit == "points":
            half = math.hypot((self.high - self.low) / 2 / self.widened, DEVIATIONS * self.error)
            return abs(self.own - self.value) / half if half else None
        low, own = self.low * self.widened, max(self.own, 1e-9)
        high = max(self.high / self.widened, 1e-9)
        return max(own / high, low / own)


class Predictions(Artifact):
    """All predictions of a run's plan, as they were before its first trial.

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
    own, pairs = plan.candidates, by_pair(plan).candidates
    names = {
        (each.strategy, each.model): named.strategy for each, named in zip(own, pairs, strict=True)
    }
    for candidate, named in zip(own, pairs, strict=True):
        yield _memory(named)
        yield _seconds(plan, "trial-time", named.duration, named.strategy)
        reference = names.get((_REFERENCE, candidate.model), _REFERENCE)
        if candidate.strategy != _REFERENCE:
            yield from _gaps(plan, candidate, named.strategy, reference)
    budget = plan.budget
    yield _seconds(plan, "sweep-time", budget.sweep)
    usd, low, high = budget.cost_usd, budget.cost_low_usd, budget.cost_high_usd
    if usd is not None and low is not None and high is not None:
        yield _seconds(plan, "money", Duration(seconds=usd, low=low, high=high), unit="USD")
    first = names[own[0].strategy, own[0].model]
    if plan.search_gain.sd:
        yield _points(plan, "search-gain", plan.search_gain, first)
    if second := plan.runner_up:
        yield _event(
            "best-strategy", second.probability, first, names[second.strategy, second.model]
        )
    frozen = [each for each in own if not changes_base(each.strategy)]
    trained = [each for each in own if changes_base(each.strategy) and each.model == own[0].model]
    if frozen and trained:
        probability = trained[0].quality.probability_above(frozen[0].quality)
        trained_name, frozen_name = (
            names[each.strategy, each.model] for each in (trained[0], frozen[0])
        )
        yield _event("fine-tuning-pays", probability, trained_name, frozen_name)


def _memory(candidate: Candidate) -> PlanPrediction:
    """The peak as a trial measures it, without the process and the driver."""
    memory = candidate.memory
    value = trial_gib(memory)
    overhead = memory.peak_gib - value
    low, high = max(0.0, memory.low_gib - overhead), memory.high_gib - overhead
    return PlanPrediction(
        kind="memory", strategy=candidate.strategy, unit="GiB", value=value, low=low, high=high
    )


def _seconds(
    plan: Plan, kind: Kind, duration: Duration, strategy: str = "", unit: Unit = "s"
) -> PlanPrediction:
    """A time, or the money for it. A sweep's interval is widened by both factors."""
    widened = interval_factor(plan.facts, "trial-time")
    if not strategy:
        widened *= interval_factor(plan.facts, "sweep-time")
    value, low, high = duration.seconds, duration.low, duration.high
    return PlanPrediction(
        kind=kind, strategy=strategy, unit=unit, value=value, low=low, high=high, widened=widened
    )


def _gaps(plan: Plan, candidate: Candidate, name: str, reference: str) -> Iterator[PlanPrediction]:
    """The quality of a strategy against LoRA, and the claims of the rules that fired."""
    yield _points(plan, "strategy-gap", candidate.quality, name, reference)
    for reason in candidate.reasons:
        if reason.gap is not None:
            yield _points(plan, "rule-gap", reason.gap, name, reference, reason.rule)


def _points(
    plan: Plan, kind: Kind, quality: Quality, strategy: str, against: str = "", rule: str = ""
) -> PlanPrediction:
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
        # A rule's claim is stated as it is; its effect on a strategy's quality is widened.
        widened=1.0 if rule else interval_factor(plan.facts, kind),
    )


def _event(kind: Kind, probability: float, strategy: str, against: str) -> PlanPrediction:
    return PlanPrediction(
        kind=kind,
        strategy=strategy,
        against=against,
        unit="probability",
        value=probability,
        stated=max(probability, 1 - probability),
    )
