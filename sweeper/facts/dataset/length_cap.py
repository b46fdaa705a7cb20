"""The cap on the tokens of an example."""

from __future__ import annotations

from sweeper.facts.record import LengthFacts

MULTIPLE = 8


def cap_of(lengths: LengthFacts, max_length: int | None, context: int) -> int:
    """The cap on the tokens of an example: the user's, else what 99% of the examples fit into.

    It is at most the model's context.
    """
    wanted = max_length if max_length is not None else -(-lengths.p99 // MULTIPLE) * MULTIPLE
    return min(wanted, context)
