"""Corrections from earlier runs: wider intervals, and the gaps between strategies."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.facts.record import Facts, ModelFacts
from sweeper.features.ledger.facts import LedgerFacts
from sweeper.features.parts import record_of


def widen(facts: Facts, prediction: str) -> float:
    """The factor by which an interval gets wider.

    The interval of a sweep also gets the factor of trials, so that its own is only the rest. All
    factors are 1 for stated hardware, such as the cards that ``plan --rent`` compares, since the
    scores are of this machine.
    """
    record = record_of(facts.features, "ledger", LedgerFacts)
    factors = record.factors if record and facts.hardware.detected else {}
    factor = factors.get(prediction, 1.0)
    return (
        max(factor / factors.get("trial-time", 1.0), 1.0) if prediction == "sweep-time" else factor
    )


def own_gaps(facts: Facts, model: ModelFacts, strategy: str) -> Sequence[tuple[float, float]]:
    """For each complete run of this task and kind of model: points above LoRA, standard error."""
    record = record_of(facts.features, "ledger", LedgerFacts)
    return record.gaps.get(model.kind, {}).get(strategy, ()) if record else ()
