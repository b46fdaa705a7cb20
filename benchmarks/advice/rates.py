"""Scores planned learning rates against swept and tuned ones."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.advice.records import Record, space_of, strategy_of
from sweeper.planning.rulebook.book import RuleBook

# The baseline that is hard to beat for LoRA, and the plain ones for the others.
CONSTANT = {"lora": 3e-4, "qlora": 3e-4, "full": 2e-5, "adapter": 3e-4, "prefix": 3e-4}
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class PlannedRate:
    """The learning rate that the plan gives for one record."""

    id: str
    method: str
    default: float
    low: float
    high: float

    @property
    def decades(self) -> float:
        return math.log10(self.high / self.low)

    def holds(self, rate: float) -> bool:
        """Whether a rate lies in the planned range, its ends included."""
        return self.low * (1 - SLACK) <= rate <= self.high * (1 + SLACK)


@dataclass(frozen=True, slots=True)
class RateScores:
    """How the planned rates did. Shares are of models, regrets in percent of the loss."""

    models: int
    in_range: float
    widest_decades: float
    regrets: Mapping[str, tuple[float, float, int]]
    misses: tuple[str, ...]


def planned(book: RuleBook, record: Record) -> PlannedRate:
    """The plan's range and default for one record of a learning rate."""
    if strategy_of(record) == "head":  # a head alone has the rate that new heads have
        space = space_of(book, {**record, "method": "full", "task": "classification"})
        rate = space.get("head_learning_rate")
    else:
        rate = space_of(book, record).get("learning_rate")
    assert rate is not None, "every strategy has a learning rate"
    assert rate.low is not None
    assert rate.high is not None
    return PlannedRate(
        str(record["id"]), strategy_of(record), float(rate.default), rate.low, rate.high
    )


def score_rates(
    book: RuleBook, records: Iterable[Record], quality: Iterable[Record], tiers: str
) -> RateScores:
    """Share of models whose best rate lies in the planned range, and the regret of the default.

    Args:
        records: Of ``lr.json``; a record's best rate counts for its model and method.
        quality: Of ``quality.json``; the swept losses that regret is interpolated in.
        tiers: Which score tiers count, such as ``A`` or ``AB``.
    """
    rows = [r for r in records if r.get("best_lr") and r.get("score_tier", "A") in tiers]
    by_model: dict[tuple[str, str], list[bool]] = defaultdict(list)
    misses, widest = [], 0.0
    for record in rows:
        plan = planned(book, record)
        widest = max(widest, plan.decades)
        held = plan.holds(float(record["best_lr"]))
        by_model[str(record.get("model")), strategy_of(record)].append(held)
        if not held:
            misses.append(f"{plan.id}: {record['best_lr']:g} not in {plan.low:g} to {plan.high:g}")
    shares = [sum(held) / len(held) for held in by_model.values()]
    return RateScores(
        models=len(by_model),
        in_range=sum(shares) / max(len(shares), 1),
        widest_decades=widest,
        regrets=_regrets(book, list(quality)),
        misses=tuple(misses),
    )


def _regrets(book: RuleBook, quality: list[Record]) -> dict[str, tuple[float, float, int]]:
    """Mean regret in percent of the loss, by source: ours, the constant rate's, curves."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for curve in curves(quality):
        plan = planned(book, curve.record)
        ours, plain = curve.regret(plan.default), curve.regret(CONSTANT.get(plan.method, 3e-4))
        if ours is not None and plain is not None:
            found[str(curve.record.get("source"))].append((ours, plain))
    return {
        source: (
            100 * sum(o for o, _ in pairs) / len(pairs),
            100 * sum(p for _, p in pairs) / len(pairs),
            len(pairs),
        )
        for source, pairs in sorted(found.items())
    }


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses over learning rates with all else equal, rates rising."""

    record: Record
    points: tuple[tuple[float, float], ...]

    def regret(self, rate: float) -> float | None:
        """Share of the best loss that a rate costs, interpolated over the log of the rate.

        None outside of the swept rates, since nothing was measured there.
        """
        best = min(loss for _, loss in self.points)
        for (low, one), (high, other) in zip(self.points, self.points[1:], strict=False):
            if low * (1 - SLACK) <= rate <= high * (1 + SLACK):
                share = math.log(rate / low) / math.log(high / low)
                return (one + share * (other - one) - best) / best
        return None


def curves(quality: Iterable[Record]) -> list[Curve]:
    """Sweeps of the learning rate: at least three losses that differ in nothing else."""
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in quality:
        settings = dict(record.get("hyperparameters") or {})
        rate = settings.pop("lr", None)
        if rate and record.get("value") is not None and "lower" in str(record["metric_direction"]):
            key = (record["comparison_group"], record["method"], repr(sorted(settings.items())))
            groups[key].append(record)
    found = []
    for rows in groups.values():
        points = sorted((float(r["hyperparameters"]["lr"]), float(r["value"])) for r in rows)
        if len({rate for rate, _ in points}) >= 3:
            found.append(Curve(rows[0], tuple(points)))
    return found
