"""Answers that refuse."""

from __future__ import annotations

import re

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows

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
