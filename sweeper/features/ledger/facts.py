"""The scores of earlier runs, for the intervals and the qualities of a plan."""

from __future__ import annotations

from pydantic import Field

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.spec import Spec


class LedgerFacts(Record):
    """Factors on intervals above 1, by the kind of prediction, and observed gaps.

    Args:
        gaps: For each kind of model and strategy, the points of each run against LoRA with their
            standard error.
    """

    factors: dict[str, float] = Field(default_factory=dict)
    gaps: dict[str, dict[str, tuple[tuple[float, float], ...]]] = Field(default_factory=dict)


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> LedgerFacts | None:
    """The factors of this machine, unless the hardware was stated, and the gaps of all machines."""
    from sweeper.features.ledger._ledger import MOST_RUNS, entries, factors, gaps, machine_of

    factors_here = {}
    if facts.hardware.detected:
        factors_here = factors(entries(machine_of(facts.hardware), MOST_RUNS)[0])
    observed = gaps(entries(most=MOST_RUNS)[0], facts.task)
    return LedgerFacts(factors=factors_here, gaps=observed) if factors_here or observed else None
