"""Finds texts that are nearly the same: sketches find candidates, and shingles decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from sweeper.data.examples import normalised

NEAR, NEAR_OF_LONG = 0.72, 0.8
"""Jaccard similarity of the shingles from which on two texts are near duplicates; 0.8 is what Lee
et al. (2022, arXiv:2107.06499) take for documents. One word of a row was changed, dropped or
added, or two letters swapped: 95% of such rows are found in banking77, 88% in snips7, 93% in the
instructions of T0, all in GSM8K (600 to 3,000 rows of each). Before planting, 2.3%, 1.0%, 17% and
0% of their rows are found; with 0.7 for all it is 3.0%, 1.2%, 20% and 0%. With 0.8 for short texts
75% of the planted rows of snips7 are found, and with 0.85 for long ones 82% of those of E2E. Short
questions that differ in one word are found, too, so that no remedy for near duplicates counts as
safe."""

LONG = 100
"""Characters from which on a text is long. Long texts share many short shingles whatever they say:
rows would be compared with thousands of others."""

SHINGLE, SHINGLE_OF_LONG = 3, 5
"""Characters of a shingle. Longer ones lose short texts: five find 84% of the pairs in snips7."""

HASHES, BANDS = 128, 32
"""A pair with a similarity of 0.72 is looked at with over 99.9% (1 - (1 - s^4)^32)."""

LEAST_CHARACTERS = 12
"""Shorter texts differ too little to tell a repetition from another question."""

_OTHER = re.compile(r"\W+")
_NUMBER = re.compile(r"\d+")


class Sketched(NamedTuple):
    """A comparable text with its MinHash."""

    text: str
    sketch: Any

    @classmethod
    def of(cls, text: str) -> Sketched | None:
        """The text without what does not change its meaning; None if it is too short."""
        # Here, since it is optional.
        from rensa import RMinHash

        if len(text := _OTHER.sub(" ", normalised(text)).strip()) < LEAST_CHARACTERS:
            return None
        made = RMinHash(HASHES, 0)
        made.update(sorted(_shingles(text)))
        return cls(text, made)


Item = TypeVar("Item")


class NearTexts(Generic[Item]):
    """Items that are found by texts nearly the same as theirs."""

    def __init__(self) -> None:
        from rensa import RMinHashLSH

        self._bands = RMinHashLSH(NEAR, HASHES, BANDS)
        self._kept: list[tuple[Item, str]] = []

    def add(self, item: Item, sketched: Sketched) -> None:
        self._bands.insert(len(self._kept), sketched.sketch)
        self._kept.append((item, sketched.text))

    def like(self, sketched: Sketched, wanted: Callable[[Item], bool]) -> Iterator[Item]:
        """The items whose texts are nearly the same, of those that are wanted, first ones first."""
        for index in sorted(self._bands.query(sketched.sketch)):
            item, text = self._kept[index]
            if wanted(item) and alike(sketched.text, text):
                yield item


def alike(former: str, latter: str) -> bool:
    """Whether comparable texts are. With another number, the same words ask another question."""
    if _NUMBER.findall(former) != _NUMBER.findall(latter):
        return False
    # Made again for each pair: kept, the check of 12,000 rows took 737 MB instead of 118.
    first, second = _shingles(former), _shingles(latter)
    shared = len(first & second)
    near = NEAR if min(len(former), len(latter)) < LONG else NEAR_OF_LONG
    return shared >= near * (len(first) + len(second) - shared)


@lru_cache(maxsize=2)  # one text is compared with many, one after the other
def _shingles(text: str) -> frozenset[str]:
    size = SHINGLE if len(text) < LONG else SHINGLE_OF_LONG
    return frozenset(text[i : i + size] for i in range(len(text) - size + 1))
