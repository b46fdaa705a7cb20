"""Axes: which domain, linear or logarithmic, which ticks, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles
from typing import Any

import altair as alt

# "Log when it spans more than ten times."
LOG_SPAN = 10.0
_PAD = 0.06
# Of fewer values none is said to lie far from the rest.
_FEWEST = 5


@dataclass(frozen=True)
class Scale:
    """A numeric axis with a fixed domain, so that panels can share it.

    Poor values may lie off its high end, or off its low one with ``off_low``.
    """

    low: float
    high: float
    log: bool
    off_low: bool = False

    def off(self, value: float) -> bool:
        """Whether a value lies off the end beyond which poor values are left out."""
        return value < self.low if self.off_low else value > self.high

    def place(self, value: float) -> float:
        """The position of a value: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, position: float) -> float:
        if self.log:
            return float(self.low * (self.high / self.low) ** position)
        return self.low + position * (self.high - self.low)

    def clip(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def altair(self) -> Any:
        kind = "log" if self.log else "linear"
        return alt.Scale(type=kind, domain=[self.low, self.high], nice=False, zero=False)

    def x(self, most: int = 6, **style: Any) -> Any:
        """The rows' ``x`` on this scale, with its axis."""
        return alt.X("x:Q", scale=self.altair(), axis=self.axis(most, **style))

    def y(self, most: int = 6, **style: Any) -> Any:
        """The rows' ``y`` on this scale, with its axis."""
        return alt.Y("y:Q", scale=self.altair(), axis=self.axis(most, **style))

    def axis(self, most: int = 6, **style: Any) -> Any:
        """An axis with about ``most`` ticks; on a log scale 1, 2 and 5 of each decade.

        Vega's own log axis draws a line at every multiple, and lets labels run into each other.
        """
        inside = self._of_decades(most) if self.log else []
        if len(inside) < 3:
            inside = _steps(self.low, self.high, most)
        # As many digits as tell neighbours apart.
        gap = min((b - a for a, b in pairwise(inside)), default=0.0)
        size = max(map(abs, inside), default=0.0)
        digits = max(3, math.floor(math.log10(size / gap)) + 2) if gap and size else 3
        return alt.Axis(values=inside, labelSeparation=8, **{"format": f".{digits}~r", **style})

    def _of_decades(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        inside: list[float] = []
        for steps in ((1, 2, 5), (1, 3), (1,)):
            ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) <= most:
                break
        return inside[:: max(1, math.ceil(len(inside) / most))]


def _steps(low: float, high: float, most: int) -> list[float]:
    """At most so many round values in a range, at equal distances.

    >>> _steps(0.2504, 0.2518, 5)
    [0.2505, 0.251, 0.2515]
    """
    rough = (high - low) / most
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def fit(values: Sequence[float], log: bool | None = None, pad: float = _PAD) -> Scale:
    """A scale that holds these values with a little room.

    Args:
        values: Finite numbers, at least one.
        log: Whether logarithmic; decided by the span if None.
        pad: Room at either end, as a share of the span.
    """
    low, high = min(values), max(values)
    if log is None:
        log = low > 0 and high / low > LOG_SPAN
    log = log and low > 0
    if log:
        if high == low:
            return Scale(low / 2, high * 2, log=True)
        room = (high / low) ** pad
        return Scale(low / room, high * room, log=True)
    if high == low:
        room = abs(high) * 0.1 or 1.0
        return Scale(low - room, high + room, log=False)
    room = (high - low) * pad
    return Scale(low - room, high + room, log=False)


def focus(values: Sequence[float], *, higher_is_better: bool = False) -> Scale:
    """A scale for most of these losses: a few that lie far above the rest lie off it.

    Of scores, of which higher ones are better, those far below the rest lie off it.

    Far is more than three interquartile ranges above the third quartile, as seen on the whole axis
    (Tukey 1977, "far out"). They are left off only where the rest would have less than half of
    the axis.

    >>> scale = focus([0.10, 0.11, 0.12, 0.13, 0.14, 5.0])
    >>> round(scale.low, 3), round(scale.high, 3)
    (0.098, 0.142)
    """
    if higher_is_better:
        turned = focus([-value for value in values])
        return Scale(-turned.high, -turned.low, log=False, off_low=True)
    whole = fit(values)
    places = sorted(map(whole.place, values))
    if len(places) < _FEWEST:
        return whole
    first, _, third = quantiles(places, n=4, method="inclusive")
    fence = third + 3 * (third - first)
    inside = [
        value
        for value, position in zip(values, map(whole.place, values), strict=True)
        if position <= fence
    ]
    if whole.place(max(inside)) - places[0] >= 0.5:
        return whole
    return fit(inside)


def dodge(places: Sequence[float], gap: float) -> list[float]:
    """Places moved apart so that neighbours are at least ``gap`` from each other, in order.

    >>> [round(place, 2) for place in dodge([0.5, 0.5, 0.1], 0.2)]
    [0.4, 0.6, 0.1]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        groups.append((places[index], [index]))
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], gap):
            (above, first), (below, second) = groups[-2:]
            center = (above * len(first) + below * len(second)) / (len(first) + len(second))
            groups[-2:] = [(center, first + second)]
    moved = [0.0] * len(places)
    for center, members in groups:
        for rank, index in enumerate(members):
            moved[index] = center + (rank - (len(members) - 1) / 2) * gap
    return moved


def _overlap(above: tuple[float, list[int]], below: tuple[float, list[int]], gap: float) -> bool:
    return below[0] - above[0] < gap * (len(above[1]) + len(below[1])) / 2 - 1e-12
