"""What happens to a row with more tokens than the length limit, for checks, plans and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sweeper.spec import Task

LongRow = Literal["cut", "shortened", "divided"]
"""What happens to the row; the answer to a prompt is never cut."""

IN_WORDS: Mapping[LongRow, str] = {
    "cut": "lose their end",
    "shortened": "lose the beginning of their prompt, or are left out if the answer alone is too "
    "long",
    "divided": "are trained on in pieces; of validation and test texts, the first piece is scored",
}


def long_row(task: Task, *, has_prompt: bool) -> LongRow:
    """What happens to a row with too many tokens.

    Args:
        has_prompt: Whether the model learns to write an answer to a prompt.

    >>> long_row("classification", has_prompt=False), long_row("code", has_prompt=True)
    ('cut', 'shortened')
    """
    if has_prompt:
        return "shortened"
    return "divided" if task == "domain" else "cut"
