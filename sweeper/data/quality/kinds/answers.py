"""Answers that teach little: refusals, and one answer to many questions."""

from __future__ import annotations

import re
from collections import defaultdict

from sweeper.data.examples import normalised
from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows

_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am) (?:very |so |really )?sorry,? (?:but )?(?:as an? |i |that )"
    r"|(?:sorry|i apologi[sz]e|my apologies|unfortunately),? (?:but |as an? |for \w+ \w+,? )?"
    r"(?:ai\b|i (?:can['’]?t|cannot|can not|am (?:not able|unable)|won['’]?t|do ?n[o'’]t have))"
    r"|i (?:cannot|can['’]?t|can not|am unable to|am not able to|won['’]?t) "
    r"(?:help|assist|provide|fulfil|comply|answer|complete|do that|create|generate|support|engage)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b)"
    r"|\bas an? (?:ai|artificial intelligence|large language)(?: language)? (?:model|assistant)\b",
    re.IGNORECASE,
)


class Refusals(Kind):
    """Canned refusals, which other models wrote."""

    name = "refusals"
    order = 40
    title = "have a refusal as their answer"
    consequence = "The model learns to refuse questions that it could answer."
    remedy = "leaves them out"
    in_plan = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        """Rows whose written answer begins like a refusal or speaks as a language model."""
        return [Fault(place) for place, row, _ in data.usable if _REFUSAL.search(row.written)]


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
