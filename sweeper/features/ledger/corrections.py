"""Corrections from earlier runs: wider intervals, and the gaps between strategies."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.facts.record import Facts, ModelFacts
from sweeper.features.ledger.facts import LedgerFacts
from sweeper.features.parts import record_of


def widen(facts: Facts, prediction: str) -> float:
    """The factor that the ledger gives; that of a sweep comes on top of that of its trials.

    It is 1 for stated hardware, as for each card that ``plan --rent`` compares: the scores are of
    this machine.
    """
    record = record_of(facts.features, "ledger", LedgerFacts)
    factors = record.factors if record and facts.hardware.detected else {}
    factor = factors.get(prediction, 1.0)
    return (
        max(factor / factors.get("trial-time", 1.0), 1.0) if prediction == "sweep-time" else factor
    )


def own_gaps(facts: Facts, model: ModelFacts, strategy: str) -> Sequence[tuple[float, float]]:
    """The points of a strategy against LoRA in complete runs of this task and kind of model."""
    record = record_of(facts.features, "ledger", LedgerFacts)
    return record.gaps.get(model.kind, {}).get(strategy, ()) if record else ()
