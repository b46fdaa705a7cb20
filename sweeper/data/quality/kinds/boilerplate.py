"""Answers that are the same whatever is asked."""

from __future__ import annotations

from collections import defaultdict

from sweeper.data.examples import normalised
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows

LEAST_WORDS = 4
"""A shorter answer (`yes`, `entailment`) may be right for many questions."""

LEAST_QUESTIONS = 5
LEAST_SHARE = 0.005


class Boilerplate(Kind):
    """One long answer to many different questions."""

    name = "boilerplate"
    order = 42
    title = "have an answer that many different questions get word for word"
    consequence = "The model learns to give this answer too often."
    remedy = "leaves them out"
    in_plan = True

    def find(self, data: DataRows) -> list[Fault]:
        """Rows whose answer at least five questions, and one of 200 rows, have."""
        asked: dict[str, dict[str, None]] = defaultdict(dict)
        places: dict[str, list[int]] = defaultdict(list)
        for place, row, example in data.usable:
            answer = normalised(row.written)
            if len(answer.split()) >= LEAST_WORDS:
                asked[answer][example.key] = None
                places[answer].append(place)
        least = max(LEAST_QUESTIONS, LEAST_SHARE * len(data.rows))
        return [
            Fault(place, f"{len(keys)} questions have it: {answer[:60]!r}")
            for answer, keys in asked.items()
            if len(keys) >= least
            for place in places[answer]
        ]
