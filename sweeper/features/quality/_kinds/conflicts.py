"""The same input with different answers."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

from sweeper.data.checks import MIN_SHARE_OF_REFERENCES
from sweeper.data.examples import normalised
from sweeper.data.problems import listing
from sweeper.data.rows import FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Fault, Kind

Answers = dict[str, list[int]]
"""From the different answers of an input to the places of their rows."""

LEAST_INPUTS = 30
"""Inputs with several answers that it takes to know how alike answers of different inputs are."""

UNLIKE = 0.9
"""Share of the pairs of answers of different inputs that are less alike than the limit. In 600 rows
of E2E this finds 90% of the answers that belong to another input, and reports 8% of the rows before
they are planted; with 0.8 these are 75% and 4%."""

MOST_UNLIKE = 0.25
"""If more answers are unlike the others of their input, answers of an input need not be alike."""

COMPARED = 50
"""Answers of an input that each is compared with."""

_WORD = re.compile(r"\w+")


class Conflicts(Kind):
    """Inputs that occur with more than one class, or with more than one written answer.

    Where most inputs have several written answers, these are references. Then an answer is in
    conflict if it has no more words in common with the others than answers of other inputs have.
    """

    name = "conflicts"
    order = 50
    title = "have an input that occurs with another answer"
    consequence = (
        "At most one answer of a class can be right, so some of these rows teach an error. Of "
        "written answers several may be right; then keep them."
    )
    remedy = (
        "keeps the most common answer of each input, or none if there is a tie. Where most inputs "
        "have several answers, it leaves out answers that are unlike the others to the same input"
    )
    compares = "inputs"

    def missing(self, data: CheckedRows) -> str:
        """It needs inputs that mostly have one answer, or whose answers are alike."""
        several = _answers(data)
        if not _are_references(data, several) or _unlike(several) is not None:
            return ""
        return "most inputs have several answers, all used as references, which are not alike"

    def find(self, data: CheckedRows) -> list[Fault]:
        return [
            Fault(
                index,
                f"{len(answers)} answers: {listing([repr(a[:30]) for a in answers], 3)}",
                mends=answer in wrong,
            )
            for answers, wrong in _conflicts(data)
            for answer, places in answers.items()
            for index in places
        ]

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        return {fault.row_index: None for fault in faults if fault.mends}


def _answers(data: CheckedRows) -> list[Answers]:
    """Of each input with several answers, in the order of its hash."""
    by_key: dict[str, Answers] = defaultdict(lambda: defaultdict(list))
    for index, row, example in data.usable:
        if answer := row.label or normalised(row.written):
            by_key[example.key][answer].append(index)
    return [answers for _, answers in sorted(by_key.items()) if len(answers) > 1]


def _are_references(data: CheckedRows, several: Sequence[Answers]) -> bool:
    rows = sum(len(places) for answers in several for places in answers.values())
    written = not any(row.label for _, row, _ in data.usable)
    return written and rows > MIN_SHARE_OF_REFERENCES * data.usable_rows


def _conflicts(data: CheckedRows) -> list[tuple[Answers, list[str]]]:
    """Inputs with answers in conflict, and which of these are left out."""
    several = _answers(data)
    if _are_references(data, several):
        return _unlike(several) or []
    conflicts = []
    for answers in several:
        counts = Counter({answer: len(places) for answer, places in answers.items()})
        (best, most), (_, second) = counts.most_common(2)
        conflicts.append((answers, [text for text in answers if most == second or text != best]))
    return conflicts


def _unlike(several: Sequence[Answers]) -> list[tuple[Answers, list[str]]] | None:
    """Inputs with answers that are unlike their others; None where likeness does not tell."""
    if len(several) < LEAST_INPUTS:
        return None
    alike = _Likeness(answer for answers in several for answer in answers)
    firsts = [next(iter(answers)) for answers in several]
    limit = sorted(map(alike, firsts, firsts[1:]))[int(UNLIKE * (len(firsts) - 1))]
    odd = [
        [
            text
            for text in answers
            if max(alike(text, other) for other in islice(answers, COMPARED) if other is not text)
            < limit
        ]
        for answers in several
    ]
    if sum(map(len, odd)) > MOST_UNLIKE * sum(map(len, several)):
        return None
    return [(answers, some) for answers, some in zip(several, odd, strict=True) if some]


class _Likeness:
    """The share of their words that two texts have in common; rare words count more."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._words = {text: frozenset(_WORD.findall(text)) for text in texts}
        counts = Counter(word for words in self._words.values() for word in words)
        self._weights = {word: math.log(len(self._words) / n) for word, n in counts.items()}

    def __call__(self, former: str, latter: str) -> float:
        first, second = self._words[former], self._words[latter]
        shared, either = (
            sum(self._weights[word] for word in words) for words in (first & second, first | second)
        )
        return shared / either if either else 1.0
