"""Accepted references as sacrebleu takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def by_rank(references: Sequence[Sequence[str]]) -> list[Any]:
    """All first references, all second ones, ...; None where an item has no more."""
    most = max(map(len, references))
    return [
        [accepted[rank] if rank < len(accepted) else None for accepted in references]
        for rank in range(most)
    ]
