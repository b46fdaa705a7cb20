"""Finds inputs that occur with different answers."""

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
from sweeper.features.quality._kinds.base import Fault, FaultKind

Answers = dict[str, list[int]]
"""From each answer to one input to the indexes of the rows that have it."""

MIN_INPUTS = 30
"""Minimum number of inputs with several answers from which a limit of likeness is estimated."""

QUANTILE_OF_LIKENESS = 0.9
"""The limit is this quantile of the likeness of answers to different inputs. In 600 rows of E2E,
90% of the planted answers to another input are found; without planted ones, 8% of the rows are
reported. With a quantile of 0.8 the shares are 75% and 4%."""

MAX_SHARE_UNLIKE = 0.25
"""If a larger share of answers is unlike the others of their input, no conflict is reported."""

MAX_ANSWERS_COMPARED = 50
"""Maximum number of answers to the same input that an answer is compared with."""

_WORD = re.compile(r"\w+")


class Conflicts(FaultKind):
    """Inputs that occur with more than one class, or with more than one written answer.

    If most inputs have several written answers, these are references. Then an answer is in conflict
    if it has no more words in common with the others than answers to different inputs have.
    """

    name = "conflicts"
    order = 50
    title = "have an input that occurs with another answer"
    consequence = (
        "At most one answer of a class can be right, so some of these rows teach an error. Of "
        "written answers several may be right; then keep them."
    )
    remedy = (
        "keep the most common answer of each input, or none if there is a tie. Where most inputs "
        "have several answers, leave out answers that are unlike the others to the same input"
    )
    needs = "same input"

    def why_unchecked(self, data: CheckedRows) -> str:
        """A reason if most inputs have several answers that are not alike; empty otherwise."""
        answer_groups = _answers(data)
        if not _are_references(data, answer_groups) or _unlike_answers(answer_groups) is not None:
            return ""
        return "most inputs have several answers, all used as references, which are not alike"

    def find(self, data: CheckedRows) -> list[Fault]:
        return [
            Fault(
                index,
                f"{len(answers)} answers: {listing((a[:30] for a in answers), 3, '{!r}')}",
                mendable=answer in left_out,
            )
            for answers, left_out in _conflicts(data)
            for answer, places in answers.items()
            for index in places
        ]

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        return {fault.row_index: None for fault in faults if fault.mendable}


def _answers(data: CheckedRows) -> list[Answers]:
    """The answers of each input with several different answers, in the order of input hashes."""
    by_key: dict[str, Answers] = defaultdict(lambda: defaultdict(list))
    for index, row, example in data.usable:
        if answer := row.label or normalised(row.written):
            by_key[example.key][answer].append(index)
    return [answers for _, answers in sorted(by_key.items()) if len(answers) > 1]


def _are_references(data: CheckedRows, answer_groups: Sequence[Answers]) -> bool:
    rows = sum(len(places) for answers in answer_groups for places in answers.values())
    has_written_answers = not any(row.label for _, row, _ in data.usable)
    return has_written_answers and rows > MIN_SHARE_OF_REFERENCES * data.usable_rows


def _conflicts(data: CheckedRows) -> list[tuple[Answers, list[str]]]:
    """The answers of each input with a conflict, and those that the remedy leaves out."""
    answer_groups = _answers(data)
    if _are_references(data, answer_groups):
        return _unlike_answers(answer_groups) or []
    conflicts = []
    for answers in answer_groups:
        counts = Counter({answer: len(places) for answer, places in answers.items()})
        (best, best_count), (_, second_count) = counts.most_common(2)
        conflicts.append(
            (answers, [text for text in answers if best_count == second_count or text != best])
        )
    return conflicts


def _unlike_answers(answer_groups: Sequence[Answers]) -> list[tuple[Answers, list[str]]] | None:
    """For each input with unlike answers, all its answers and those; None if undecidable."""
    if len(answer_groups) < MIN_INPUTS:
        return None
    likeness = _Likeness(answer for answers in answer_groups for answer in answers)
    first_answers = [next(iter(answers)) for answers in answer_groups]
    limit = sorted(map(likeness, first_answers, first_answers[1:]))[
        int(QUANTILE_OF_LIKENESS * (len(first_answers) - 1))
    ]
    unlike_answers = [
        [
            text
            for text in answers
            if max(
                likeness(text, other)
                for other in islice(answers, MAX_ANSWERS_COMPARED)
                if other is not text
            )
            < limit
        ]
        for answers in answer_groups
    ]
    if sum(map(len, unlike_answers)) > MAX_SHARE_UNLIKE * sum(map(len, answer_groups)):
        return None
    return [
        (answers, unlike)
        for answers, unlike in zip(answer_groups, unlike_answers, strict=True)
        if unlike
    ]


class _Likeness:
    """Computes the share of words that two texts have in common; rare words count more."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._words = {text: frozenset(_WORD.findall(text)) for text in texts}
        counts = Counter(word for words in self._words.values() for word in words)
        self._weights = {word: math.log(len(self._words) / n) for word, n in counts.items()}

    def __call__(self, former: str, latter: str) -> float:
        first, second = self._words[former], self._words[latter]
        shared, union = (
            sum(self._weights[word] for word in words) for words in (first & second, first | second)
        )
        return shared / union if union else 1.0
