"""Pairs of rows with nearly the same text, by MinHash."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sweeper.data.examples import SPLITS, normalised
from sweeper.data.quality.rows import DataRows, Row
from sweeper.extras import install_command, is_installed

NEAR = 0.8
"""Jaccard similarity of near duplicates (Lee et al. 2022, arXiv:2107.06499, section 4.2)."""

SHINGLE = 5
"""Characters of a shingle: the unit of short texts (Leskovec et al., Mining of Massive Datasets,
section 3.2)."""

_HASHES, _BANDS = 128, 16
"""A pair with a similarity of 0.8 is looked at with 95%, one with 0.9 with over 99.9%
(1 - (1 - s^8)^16)."""

MOST_ROWS = 200_000
"""Rows that are compared: the first so many."""

_LEAST_CHARACTERS = 20
"""Shorter texts differ too little to tell a repetition from another question."""

_OTHER = re.compile(r"\W+")


def why_not() -> str:
    """Why similar rows cannot be looked for; empty if they can."""
    return "" if is_installed("rensa") else f"it needs rensa: {install_command('data')}"


def near_earlier(data: DataRows, *, across: bool = False) -> Iterator[tuple[int, int]]:
    """Places of rows with that of an earlier row that is nearly the same, but not equal.

    Args:
        across: Compare inputs of different splits; otherwise whole rows, within a split.
    """
    # Here, since it is optional.
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(NEAR, _HASHES, _BANDS)
    kept: dict[int, tuple[str, frozenset[str]]] = {}
    for place, row, example in data.usable[:MOST_ROWS]:
        text = _text(row, across=across)
        if len(text) < _LEAST_CHARACTERS:
            continue
        shingles = frozenset(text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1))
        sketch = RMinHash(_HASHES, 0)
        sketch.update(sorted(shingles))
        alike = [
            other
            for other in sorted(index.query(sketch))
            if _comparable(data.rows[other], row, across=across)
            and _jaccard(kept[other][1], shingles) >= NEAR
        ]
        yield from ((place, other) for other in alike if kept[other][0] != example.key)
        # Nothing is compared with a row that repeats another: else a chain of small steps from one
        # question to the next would be left out as a whole.
        if across or not alike:
            kept[place] = example.key, shingles
            index.insert(place, sketch)


def _text(row: Row, *, across: bool) -> str:
    whole = row.input if across else f"{row.input} {row.written}"
    return _OTHER.sub(" ", normalised(whole)).strip()


def _comparable(first: Row, second: Row, *, across: bool) -> bool:
    ranks = SPLITS.index(first.split), SPLITS.index(second.split)
    return ranks[0] != ranks[1] if across else ranks[0] == ranks[1] and first.label == second.label


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)
