"""Rows that are much longer or shorter than the others, or longer than the cap in tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows

MOST = 3.5
"""Modified z-score of an outlier (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)."""

LEAST_SPREAD = 0.2
"""Lower bound of the median deviation of log lengths: else rows that are nearly equally long would
all be outliers."""

BEYOND = math.log(3)
"""Where lengths differ much, as in the mixed tasks of T0, the score leaves all of them in. There,
an outlier is three times as long as 95% of the rows, or a third of what 95% have at least."""

LEAST_ROWS = 30


class Lengths(Kind):
    """Rows whose input or answer is far from the usual length, on a logarithmic scale."""

    name = "lengths"
    order = 80
    title = "are much longer or shorter than the others"
    consequence = (
        "Often these are two joined rows, a page instead of a sentence, or half a text. The "
        "longest rows decide how much memory training takes."
    )
    remedy = "leaves them out"
    severity = "note"

    def find(self, data: DataRows) -> list[Fault]:
        found: dict[int, str] = {}
        for what, sizes in (
            ("input", {place: len(row.input) for place, row, _ in data.usable}),
            ("answer", {place: len(row.written) for place, row, _ in data.usable if row.written}),
        ):
            for place, said in _outliers(sizes):
                found.setdefault(place, f"the {what} has {said}")
        return [Fault(place, said) for place, said in sorted(found.items())]


def _outliers(sizes: dict[int, int]) -> Iterator[tuple[int, str]]:
    if len(sizes) < LEAST_ROWS:
        return
    logs = {place: math.log(size + 1) for place, size in sizes.items()}
    middle = median(logs.values())
    spread = max(median(abs(one - middle) for one in logs.values()), LEAST_SPREAD)
    ordered = sorted(logs.values())
    most, fewest = ordered[int(0.95 * len(ordered))], ordered[int(0.05 * len(ordered))]
    # 0.6745 makes the median deviation of a normal distribution its standard deviation.
    far = MOST * spread / 0.6745
    lower, upper = max(middle - far, fewest - BEYOND), min(middle + far, most + BEYOND)
    for place, one in logs.items():
        if not lower <= one <= upper:
            usual = round(math.exp(middle) - 1)
            yield place, f"{sizes[place]:,} characters; the median is {usual:,}"


class Truncation(Kind):
    """Rows of which training would not see the end."""

    name = "truncation"
    order = 82
    title = "are longer than the maximum number of tokens"
    consequence = "Their end is cut off. Of an instruction, this is the answer or a part of it."
    remedy = "leaves them out; a higher --max-length keeps them, but needs more memory"
    compares = "nothing"

    def missing(self, data: DataRows) -> str:
        return "" if data.cap else "give --max-length, and --model for its tokenizer"

    def find(self, data: DataRows) -> list[Fault]:
        if data.cap is None:
            return []
        places = [place for place, _, _ in data.usable]
        counts = data.cap.count([f"{row.input}\n{row.written}" for _, row, _ in data.usable])
        return [
            Fault(place, f"{count:,} tokens, {data.cap.how}")
            for place, count in zip(places, counts, strict=True)
            if count > data.cap.tokens
        ]
