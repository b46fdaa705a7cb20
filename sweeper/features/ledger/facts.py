"""What a plan takes from the scores of earlier runs, for its intervals and expected qualities."""

from __future__ import annotations

from pydantic import Field

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.spec import Spec


class LedgerFacts(Record):
    """The corrections and observations of earlier runs.

    Args:
        factors: Factors above 1 by which intervals get wider, by the kind of prediction.
        best_loss: Expected best loss divided by the loss of guessing, and the ends of its 90%
            interval.
        gaps: By kind of model and strategy, for each run: points above LoRA, and their standard
            error.
    """

    factors: dict[str, float] = Field(default_factory=dict)
    best_loss: tuple[float, float, float] | None = None
    gaps: dict[str, dict[str, tuple[tuple[float, float], ...]]] = Field(default_factory=dict)


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> LedgerFacts | None:
    """Factors from runs on this machine, if it is detected, and observations of all machines.

    None without any. The same whether the command will train or not (``for_run``).
    """
    from sweeper.features.ledger import _ledger

    factors: dict[str, float] = {}
    if facts.hardware.detected:
        machine = _ledger.machine_of(facts.hardware)
        factors = _ledger.factors(_ledger.entries(machine, _ledger.MAX_RUNS_READ)[0])
    entries = _ledger.entries(most=_ledger.MAX_RUNS_READ)[0]
    record = LedgerFacts(
        factors=factors,
        best_loss=_ledger.best_loss(entries, facts),
        gaps=_ledger.gaps(entries, facts.task),
    )
    return record if record != LedgerFacts() else None
