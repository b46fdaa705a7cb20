"""The length limit of examples in tokens."""

from __future__ import annotations

from sweeper.facts.record import LengthFacts

MULTIPLE = 8
"""The limit is a multiple of this, which kernels and allocators prefer (NVIDIA, Deep Learning
Performance guide, section on tensor core requirements)."""


def cap_of(lengths: LengthFacts, max_length: int | None, context: int) -> int:
    """The length limit: the user's ``max_length``, else one that 99% of the examples fit into.

    It is at most ``context``, the model's context length.
    """
    cap = max_length if max_length is not None else -(-lengths.p99 // MULTIPLE) * MULTIPLE
    return min(cap, context)
