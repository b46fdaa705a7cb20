"""Scores of predictions against measurements, and of predictions refitted without one source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.memory.file import predict
from benchmarks.memory.records import Case, case_of
from sweeper.memory.estimate import worst_phase
from sweeper.memory.overheads import CONTEXT_GIB, VOLTA_CONTEXT_GIB
from sweeper.units import GIB

#: Set aside: the real lengths of this source's runs do not follow from its records.
SET_ASIDE = "ms-swift"


@dataclass(frozen=True)
class Row:
    """A record with its case and our prediction."""

    record: Mapping[str, Any]
    case: Case
    answer: Mapping[str, Any]

    @property
    def measured(self) -> float:
        return float(self.record["peak_gib"])

    @property
    def source(self) -> str:
        return str(self.record.get("source", "unknown"))


@dataclass(frozen=True)
class Score:
    """Shares of the rows; ``covered`` is None where there is no interval."""

    rows: int
    within_10: float
    within_20: float
    too_low: float
    covered: float | None

    def cells(self) -> list[str]:
        shares = [self.within_10, self.within_20, self.too_low]
        texts = [f"{share:.0%}" for share in shares]
        return [str(self.rows), *texts, "" if self.covered is None else f"{self.covered:.0%}"]


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Every record with our prediction."""
    found = []
    for index, record in enumerate(records, 1):
        case = case_of(record, str(record.get("id", index)))
        found.append(Row(record, case, predict(case)))
    return found


def scored(row: Row) -> bool:
    """Whether a row counts: one GPU, tier A, measured, its source not set aside."""
    record = row.record
    return (
        record.get("score_tier") == "A"
        and record.get("n_gpus") == 1
        and record.get("peak_gib") is not None
        and SET_ASIDE not in row.source
    )


def score(
    rows: Sequence[Row],
    predicted: Callable[[Row], float | None],
    interval: Callable[[Row], tuple[float, float]] | None = None,
) -> Score | None:
    """The score of a rule over the rows that it speaks about; None if there are none."""
    pairs = [(row, value) for row in rows if (value := predicted(row)) is not None]
    if not pairs:
        return None
    ratios = [value / row.measured for row, value in pairs]
    covered = None
    if interval is not None:
        inside = [low <= row.measured <= high for row, _ in pairs for low, high in [interval(row)]]
        covered = sum(inside) / len(inside)
    return Score(
        rows=len(ratios),
        within_10=_share(ratios, lambda ratio: abs(ratio - 1) <= 0.1),
        within_20=_share(ratios, lambda ratio: abs(ratio - 1) <= 0.2),
        too_low=_share(ratios, lambda ratio: ratio < 0.9),
        covered=covered,
    )


def _share(ratios: Sequence[float], test: Callable[[float], bool]) -> float:
    return sum(map(test, ratios)) / len(ratios)


def ours(rows: Sequence[Row]) -> Score | None:
    """Our score as the program predicts."""
    return score(
        rows,
        lambda row: float(row.answer["peak_gib"]),
        lambda row: (float(row.answer["low_gib"]), float(row.answer["high_gib"])),
    )


def without(rows: Sequence[Row], source: str) -> Score | None:
    """The score on one source with all that is fitted fitted to the others.

    Fitted are the allocator's reserve (a median) and the interval (the 5% and 95% quantiles of
    measured over predicted); everything else follows from the operations of a step.
    """
    others = [row for row in rows if row.source != source]
    reserved = [
        (row.measured - _context(row)) / _tensors(row)
        for row in others
        if row.case.counter != "allocated"
    ]
    reserve = median(reserved) if reserved else 1.0

    def predicted(row: Row) -> float:
        return _tensors(row) * (reserve if row.case.counter != "allocated" else 1) + _context(row)

    errors = sorted(math.log(row.measured / predicted(row)) for row in others)
    low, high = (math.exp(_quantile(errors, q)) for q in (0.05, 0.95))
    held_out = [row for row in rows if row.source == source]
    return score(held_out, predicted, lambda row: (predicted(row) * low, predicted(row) * high))


def _tensors(row: Row) -> float:
    return worst_phase(row.case.model, row.case.setup).total / GIB


def _context(row: Row) -> float:
    if row.case.counter != "device":
        return 0.0
    return VOLTA_CONTEXT_GIB if row.case.legacy else CONTEXT_GIB


def _quantile(ordered: Sequence[float], q: float) -> float:
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True)
class Fits:
    """Of runs on a known card: out-of-memory ones foreseen, and alarms on ones that ran."""

    failed: int
    foreseen: int
    ran: int
    false_alarms: int


def fits(rows: Sequence[Row]) -> Fits:
    """Whether it was foreseen which single-GPU runs would not fit."""
    known = [row for row in rows if row.record.get("n_gpus") == 1 and "fits" in row.answer]
    failed = [row for row in known if row.record.get("outcome") != "ok"]
    ran = [row for row in known if row.record.get("outcome") == "ok"]
    return Fits(
        failed=len(failed),
        foreseen=sum(not row.answer["fits"] for row in failed),
        ran=len(ran),
        false_alarms=sum(not row.answer["fits"] for row in ran),
    )
