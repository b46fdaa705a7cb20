"""Wider intervals for the kinds of predictions that held less often than they should have."""

from __future__ import annotations

from sweeper.facts.record import Facts
from sweeper.features.ledger.facts import LedgerFacts
from sweeper.features.parts import record_of


def widen(facts: Facts, prediction: str) -> float:
    """The factor that the ledger gives; the one of a sweep is on top of that of its trials."""
    record = record_of(facts.features, "ledger", LedgerFacts)
    factors = record.factors if record else {}
    own = factors.get(prediction, 1.0)
    return max(own / factors.get("trial-time", 1.0), 1.0) if prediction == "sweep-time" else own
