"""Scores for tests of the ledger."""

from __future__ import annotations

from typing import Any

from sweeper.features.ledger._predictions import Scored


def time(observed: float | None, **changes: Any) -> Scored:
    """A trial's time of 10 s, from 5 s to 20 s."""
    fields: dict[str, Any] = {
        "kind": "trial-time", "strategy": "lora", "unit": "s", "value": 10.0, "low": 5.0,
        "high": 20.0, "observed": observed,
        "held": None if observed is None else 5.0 <= observed <= 20.0,
    }  # fmt: skip
    return Scored(**(fields | changes))


def gap(observed: float, error: float = 0.0, **changes: Any) -> Scored:
    """A difference of 1 point, from -1 to 3."""
    fields: dict[str, Any] = {
        "kind": "strategy-gap", "strategy": "full", "against": "lora", "unit": "points",
        "value": 1.0, "low": -1.0, "high": 3.0, "observed": observed, "error": error,
        "held": abs(observed - 1) <= 2,
    }  # fmt: skip
    return Scored(**(fields | changes))
