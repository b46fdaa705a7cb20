"""What the scores on this machine teach about the intervals of a plan."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.spec import Spec


class LedgerFacts(Record):
    """Factors on intervals, by the kind of prediction, where they are above 1."""

    factors: dict[str, float]


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> LedgerFacts | None:
    """The factors of this machine; none for hardware that was stated."""
    from sweeper.features.ledger._ledger import MOST_RUNS, entries, factors, machine_of

    if not facts.hardware.detected:
        return None
    wider = factors(entries(machine_of(facts.hardware), MOST_RUNS)[0])
    return LedgerFacts(factors=wider) if wider else None
