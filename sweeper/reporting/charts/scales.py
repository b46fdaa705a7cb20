"""Axes of charts: domain, linear or logarithmic scale, ticks, and label positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles
from typing import Any

import altair as alt

# A scale is logarithmic if its highest value is more than this multiple of its lowest.
LOG_SPAN = 10.0
# Room at either end of an axis, as a share of the span of its values.
_PAD = 0.06
# Fewest values of which some may be outside of the axis.
_MIN_VALUES = 5


@dataclass(frozen=True)
class Scale:
    """A numeric axis with a fixed domain, so that panels can share it.

    Poor values may be beyond its high end; with ``is_cut_below``, beyond its low end.
    """

    low: float
    high: float
    log: bool
    is_cut_below: bool = False

    def off(self, value: float) -> bool:
        """Whether a value is beyond the end at which poor values are cut off."""
        return value < self.low if self.is_cut_below else value > self.high

    def place(self, value: float) -> float:
        """The position of a value: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, position: float) -> float:
        """The value at a position, see ``place``."""
        if self.log:
            return float(self.low * (self.high / self.low) ** position)
        return self.low + position * (self.high - self.low)

    def clip(self, value: float) -> float:
        """The nearest value on the axis."""
        return min(max(value, self.low), self.high)

    def altair(self) -> Any:
        """The scale for an Altair channel."""
        kind = "log" if self.log else "linear"
        return alt.Scale(type=kind, domain=[self.low, self.high], nice=False, zero=False)

    def x(self, max_ticks: int = 6, **style: Any) -> Any:
        """The rows' ``x`` on this scale, with its axis."""
        return alt.X("x:Q", scale=self.altair(), axis=self.axis(max_ticks, **style))

    def y(self, max_ticks: int = 6, **style: Any) -> Any:
        """The rows' ``y`` on this scale, with its axis."""
        return alt.Y("y:Q", scale=self.altair(), axis=self.axis(max_ticks, **style))

    def axis(self, max_ticks: int = 6, **style: Any) -> Any:
        """An axis with about ``max_ticks`` ticks; on a log scale 1, 2 and 5 of each decade.

        Vega's own log axis draws a line at every multiple, and its labels overlap.
        """
        ticks = self._decade_ticks(max_ticks) if self.log else []
        if len(ticks) < 3:
            ticks = _round_values(self.low, self.high, max_ticks)
        # Enough digits for labels to differ.
        gap = min((b - a for a, b in pairwise(ticks)), default=0.0)
        size = max(map(abs, ticks), default=0.0)
        digits = max(3, math.floor(math.log10(size / gap)) + 2) if gap and size else 3
        return alt.Axis(values=ticks, labelSeparation=8, **{"format": f".{digits}~r", **style})

    def _decade_ticks(self, max_ticks: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks: list[float] = []
        for steps in ((1, 2, 5), (1, 3), (1,)):
            all_ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
            ticks = [tick for tick in all_ticks if self.low <= tick <= self.high]
            if len(ticks) <= max_ticks:
                break
        return ticks[:: max(1, math.ceil(len(ticks) / max_ticks))]


def _round_values(low: float, high: float, max_ticks: int) -> list[float]:
    """At most ``max_ticks`` round values in a range, at equal distances.

    >>> _round_values(0.2504, 0.2518, 5)
    [0.2505, 0.251, 0.2515]
    """
    min_step = (high - low) / max_ticks
    decade = 10.0 ** math.floor(math.log10(min_step))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= min_step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def fit(values: Sequence[float], log: bool | None = None, pad: float = _PAD) -> Scale:
    """A scale that covers these values, with some room at either end.

    Args:
        values: Finite numbers, at least one.
        log: Whether it is logarithmic; if None, this depends on ``LOG_SPAN``.
        pad: Room at either end, as a share of the span.
    """
    low, high = min(values), max(values)
    if log is None:
        log = low > 0 and high / low > LOG_SPAN
    log = log and low > 0
    if log:
        if high == low:
            return Scale(low / 2, high * 2, log=True)
        padding = (high / low) ** pad
        return Scale(low / padding, high * padding, log=True)
    if high == low:
        padding = abs(high) * 0.1 or 1.0
        return Scale(low - padding, high + padding, log=False)
    padding = (high - low) * pad
    return Scale(low - padding, high + padding, log=False)


def focus(values: Sequence[float], *, higher_is_better: bool = False) -> Scale:
    """A scale for most of these values: the worst may be outside.

    A value is outside if, on an axis of all values, it is more than three interquartile ranges
    above the third quartile (Tukey 1977, "far out") and the values that are not would fill less
    than half of that axis. With ``higher_is_better``, low values are outside instead.

    >>> scale = focus([0.10, 0.11, 0.12, 0.13, 0.14, 5.0])
    >>> round(scale.low, 3), round(scale.high, 3)
    (0.098, 0.142)
    """
    if higher_is_better:
        negated_scale = focus([-value for value in values])
        return Scale(-negated_scale.high, -negated_scale.low, log=False, is_cut_below=True)
    full_scale = fit(values)
    positions = sorted(map(full_scale.place, values))
    if len(positions) < _MIN_VALUES:
        return full_scale
    first, _, third = quantiles(positions, n=4, method="inclusive")
    fence = third + 3 * (third - first)
    kept_values = [
        value
        for value, position in zip(values, map(full_scale.place, values), strict=True)
        if position <= fence
    ]
    if full_scale.place(max(kept_values)) - positions[0] >= 0.5:
        return full_scale
    return fit(kept_values)


def spread_labels(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved apart so that neighbours are at least ``gap`` apart, in the given order.

    >>> [round(position, 2) for position in spread_labels([0.5, 0.5, 0.1], 0.2)]
    [0.4, 0.6, 0.1]
    """
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    groups: list[tuple[float, list[int]]] = []  # (centre, indices of the positions)
    for index in order:
        groups.append((positions[index], [index]))
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], gap):
            (low, first), (high, second) = groups[-2:]
            center = (low * len(first) + high * len(second)) / (len(first) + len(second))
            groups[-2:] = [(center, first + second)]
    moved_positions = [0.0] * len(positions)
    for center, members in groups:
        for rank, index in enumerate(members):
            moved_positions[index] = center + (rank - (len(members) - 1) / 2) * gap
    return moved_positions


def _overlap(low: tuple[float, list[int]], high: tuple[float, list[int]], gap: float) -> bool:
    return high[0] - low[0] < gap * (len(low[1]) + len(high[1])) / 2 - 1e-12
