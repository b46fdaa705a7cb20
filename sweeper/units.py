"""Formats numbers for terminal and report: three significant digits, with their unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Bytes in a GiB.
GIB = 1024**3

_DASH = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; an en dash if it is None or not finite.

    >>> number(0.000123456), number(1234.5), number(None)
    ('0.000123', '1,234', '–')
    """
    if value is None or not math.isfinite(value):
        return _DASH
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= digits - 1:
        return f"{value:,.0f}"
    if size < -4:
        return rate(value)
    return f"{value:.{digits - 1 - size}f}"


def rate(value: float | None) -> str:
    """A learning rate or another small number in scientific notation.

    >>> rate(2e-4), rate(0.00031), rate(1e-5)
    ('2e-4', '3.1e-4', '1e-5')
    """
    if value is None or not math.isfinite(value):
        return _DASH
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def setting(value: object) -> str:
    """The value of a parameter; in scientific notation below 0.01.

    >>> setting(2e-4), setting(16.0), setting(True), setting("qv")
    ('2e-4', '16', 'True', 'qv')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return rate(value) if 0 < abs(value) < 0.01 else f"{value:g}"


def duration(seconds: float | None) -> str:
    """Seconds as text, in a unit that suits their size; a dash if None or not finite.

    >>> duration(42), duration(600), duration(9000), duration(0.31)
    ('42 s', '10 min', '2.5 h', '0.3 s')
    """
    if seconds is None or not math.isfinite(seconds):
        return _DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 360_000:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 86400:.0f} days"


def span(low: float, high: float) -> str:
    """A range of seconds as text, with a common unit written once.

    >>> span(41, 55), span(50, 600)
    ('41-55 s', '50 s to 10 min')
    """
    first, second = duration(low), duration(high)
    (start, unit), (end, end_unit) = first.split(" "), second.split(" ")
    if first == second:
        return first
    return f"{start}-{end} {unit}" if unit == end_unit else f"{first} to {second}"


def count(value: int) -> str:
    """A count, in millions or billions if it is large.

    >>> count(2000), count(134_515_008), count(7_240_000_000), count(384), count(1_040_000_000_000)
    ('2,000', '135M', '7.24B', '384', '1,040B')
    """
    for limit, suffix in ((1e9, "B"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:{'.3g' if value < 100 * limit else ',.0f'}}{suffix}"
    return f"{value:,}"


def gib(value: float | None) -> str:
    """A size in GiB as text; a dash if None or not finite.

    >>> gib(0.253), gib(23.94), gib(148)
    ('0.25 GiB', '23.9 GiB', '148 GiB')
    """
    if value is None or not math.isfinite(value):
        return _DASH
    decimals = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:.{decimals}f} GiB"


def size(value: int | None) -> str:
    """A number of bytes as text, in kB, MB or GB of powers of ten; a dash if None.

    >>> size(2_400), size(538_090_408), size(14_500_000_000)
    ('2.4 kB', '538 MB', '14.5 GB')
    """
    if value is None:
        return _DASH
    for limit, unit in ((1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"


def plural(count: int, noun: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "trial"), plural(20, "trial")
    ('1 trial', '20 trials')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def epochs(count: float) -> str:
    """A number of epochs, to a tenth; below one epoch, with two significant digits.

    >>> epochs(3.0), epochs(3.34), epochs(0.75)
    ('3', '3.3', '0.75')
    """
    return f"{count:.1f}".removesuffix(".0") if count >= 1 else f"{count:.2g}"


def joined(parts: Sequence[str], word: str = "and") -> str:
    """A list as part of a sentence.

    >>> joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b or c')
    """
    return f" {word} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
