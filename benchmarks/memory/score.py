"""Scores of predictions against measurements, and of predictions fitted without one source."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from benchmarks.memory.counters import (
    FITTED,
    Band,
    Fitted,
    band_of,
    shapes_of,
    share_of,
    shown,
)
from benchmarks.memory.file import predict
from benchmarks.memory.records import Case, case_of

#: A device this full gives back what its allocator kept: such rows do not tell the reserve.
_FULL = 0.93


@dataclass(frozen=True)
class Row:
    """A record with its case and our prediction.

    ``tensors_gib`` is what the same run had allocated, where its source says that as well.
    """

    record: Mapping[str, Any]
    case: Case
    answer: Mapping[str, Any]
    tensors_gib: float | None = None

    @property
    def measured(self) -> float:
        return float(self.record["peak_gib"])

    @property
    def source(self) -> str:
        return str(self.record.get("source", "unknown"))


@dataclass(frozen=True)
class Score:
    """Shares of the rows.

    ``width`` is the median half-width of the interval, as a share of the prediction.
    """

    rows: int
    within_10: float
    within_20: float
    too_low: float
    covered: float
    width: float

    def cells(self) -> list[str]:
        shares = [self.within_10, self.within_20, self.too_low, self.covered]
        return [str(self.rows), *(f"{share:.0%}" for share in shares), f"±{self.width:.0%}"]


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Every record with our prediction; a second row where two counters were read of one run."""
    found = []
    for index, record in enumerate(records, 1):
        name = str(record.get("id", index))
        found.append(_row(record, name))
        seen = (record.get("other_memory_gib") or {}).get("nvidia_smi_peak")
        if seen is not None and record.get("peak_gib") is not None:
            again = {**record, "measured": "nvidia-smi", "peak_gib": seen}
            found.append(_row(again, f"{name}:device", float(record["peak_gib"])))
    return found


def _row(record: Mapping[str, Any], name: str, tensors: float | None = None) -> Row:
    case = case_of(record, name)
    return Row(record, case, predict(case), tensors)


def scored(row: Row) -> bool:
    """Whether a row counts: one GPU, tier A, measured."""
    record = row.record
    return (
        record.get("score_tier") == "A"
        and record.get("n_gpus") == 1
        and record.get("peak_gib") is not None
    )


def uncertain(row: Row) -> bool:
    """Whether something that a row's prediction needs is a guess: one GPU, tier B, measured."""
    record = row.record
    measured = record.get("n_gpus") == 1 and record.get("peak_gib") is not None
    return bool(measured and record.get("score_tier") == "B")


def fitting(rows: Sequence[Row]) -> list[Row]:
    """The rows that constants are fitted to.

    Where a source read two counters of one run, they tell the reserve whatever its lengths are.
    Guessed lengths tell how far such a guess is off, and nothing else.
    """
    guessed = [row for row in rows if uncertain(row) and not row.case.known]
    return [*(row for row in rows if scored(row)), *guessed]


def of_ours(rows: Sequence[Row], fitted: Callable[[Row], Fitted]) -> Score | None:
    """Our score where a row is predicted with what was fitted for it; None without rows."""
    if not rows:
        return None
    pairs = [(shown(row.case, fitted(row)), row.measured) for row in rows]
    ratios = [found.peak / measured for found, measured in pairs]
    return Score(
        rows=len(ratios),
        within_10=fmean(abs(ratio - 1) <= 0.1 for ratio in ratios),
        within_20=fmean(abs(ratio - 1) <= 0.2 for ratio in ratios),
        too_low=fmean(ratio < 0.9 for ratio in ratios),
        covered=fmean(found.low <= measured <= found.high for found, measured in pairs),
        width=median((found.high - found.low) / (2 * found.peak) for found, _ in pairs),
    )


def ours(rows: Sequence[Row]) -> Score | None:
    """Our score as the program predicts."""
    return of_ours(rows, lambda _: FITTED)


def left_out(rows: Sequence[Row], known: Sequence[Row]) -> Score | None:
    """The score of rows whose source was left out of the fit.

    Args:
        rows: To score.
        known: What is fitted to, less the source of the row.
    """
    sources = {row.source for row in rows}
    by_source = {name: fit([one for one in known if one.source != name]) for name in sources}
    return of_ours(rows, lambda row: by_source[row.source])


def fit(rows: Sequence[Row]) -> Fitted:
    """What the sources agree on: each counts alike, however many rows it has.

    The reserve is the middle of the sources' medians. An interval is as wide as that of the
    source with the widest errors, since the next source may be like any of them; and twice as
    wide where only one source tells.
    """
    reserve: dict[str, float] = {}
    for shapes in FITTED.reserve:
        own = [row for row in rows if shapes_of(row.case) == shapes and _tells(row)]
        per_source = [median(map(_reserve, some)) for some in _by_source(own)]
        reserve[shapes] = median(per_source) if per_source else 0.0
    middle = Fitted(reserve, FITTED.bands)
    bands = {}
    for name in FITTED.bands:
        own = [row for row in rows if _speaks(row, name)] or list(rows)
        outliers = 0.05 if name == "guessed" else 0.0
        bands[name] = _widest([_errors(some, middle) for some in _by_source(own)], outliers)
    return Fitted(reserve, bands)


def _speaks(row: Row, band: str) -> bool:
    """Whether a row tells how wide a band is; with its tensors known, its lengths need not be."""
    if row.tensors_gib is not None and not row.case.known:
        return band == shapes_of(row.case)
    return band == band_of(row.case)


def _by_source(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.source].append(row)
    return list(found.values())


def _tells(row: Row) -> bool:
    """Whether a row tells the reserve: tensors are known, and the device was not full."""
    limit = row.case.limit_gib
    room = limit is None or row.measured < _FULL * limit
    known = row.case.known or row.tensors_gib is not None
    return row.case.counter != "allocated" and known and room


def _reserve(row: Row) -> float:
    found = shown(row.case)
    tensors = found.tensors if row.tensors_gib is None else row.tensors_gib
    moving = found.moving + tensors - found.tensors
    return (row.measured - found.context - tensors) / max(moving, 1e-3)


def _errors(rows: Sequence[Row], fitted: Fitted) -> list[float]:
    """What was measured beyond the prediction, as shares of what moves, ascending."""
    found = []
    for row in rows:
        one = shown(row.case, fitted)
        apart = 0.0 if row.case.known or row.tensors_gib is None else row.tensors_gib - one.tensors
        moving = one.moving + apart
        share = share_of(row.case, fitted) if one.reserve else 0.0
        found.append((row.measured - one.peak - (1 + share) * apart) / max(moving, 1e-3))
    return sorted(found)


def _widest(errors: Sequence[Sequence[float]], outliers: float) -> Band:
    """The widest of the sources' errors, each without that share at either end; twice those of a
    source that is alone."""
    below = min((_quantile(one, outliers) for one in errors), default=0.0)
    above = max((_quantile(one, 1 - outliers) for one in errors), default=0.0)
    # One source says little of the next.
    wide = 2.0 if len(errors) == 1 else 1.0
    return Band(max(-below, 0.0) * wide, max(above, 0.0) * wide)


def _quantile(ordered: Sequence[float], q: float) -> float:
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def refused(rows: Sequence[Row], *, ran: bool) -> list[bool]:
    """Whether each single-GPU run on a known card was predicted not to fit.

    Args:
        ran: Whether to take the runs that succeeded, or those that did not.
    """
    return [
        not row.answer["fits"]
        for row in rows
        if row.record.get("n_gpus") == 1 and "fits" in row.answer
        if (row.record.get("outcome") == "ok") == ran
    ]
