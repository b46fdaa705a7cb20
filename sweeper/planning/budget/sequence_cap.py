"""The sequence cap: the number of tokens of an example that are used, with the reason.

Memory is not considered here; ``fitting`` rejects a cap that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sweeper.facts.dataset.stated import assumed_lengths
from sweeper.facts.record import Facts, LengthFacts, ModelFacts
from sweeper.spec import Spec

# Kernels and allocators like multiples of 8 (NVIDIA, Deep Learning Performance guide, section on
# tensor core requirements).
MULTIPLE = 8

# What a cap at the 99th percentile cuts: too usual to warn about.
USUAL = "at most 1%"


@dataclass(frozen=True)
class Cap:
    """The cap in tokens, the mean length under it, why, and what it cuts (empty if nothing).

    ``fate`` says what becomes of what is too long. ``pieces`` is how many items a train example
    becomes on average, less than one where texts share items; ``mean`` is the length of an item.
    """

    tokens: int
    mean: float
    why: str
    cuts: str = ""
    fate: str = "lose their end"
    pieces: float = 1.0

    def items(self, rows: int) -> int:
        """The items that so many train examples become."""
        return max(round(rows * self.pieces), 1)


# An answer is never cut: a prompt loses its beginning, and where that is not enough the example is
# left out.
_ANSWERED = "lose the beginning of their prompt, or are left out where the answer alone is longer"

# Of a text without an answer.
DIVIDED = "are trained on in pieces; of validation and test texts, the first piece is scored"

# Lengths between two percentiles that are looked at.
_STEPS = 20


def sequence_cap(spec: Spec, facts: Facts, model: ModelFacts) -> Cap:
    """The user's cap, else the length that 99% of the examples fit into, within the context."""
    context = model.context_length
    wanted = spec.training.max_length
    lengths = facts.data.lengths or assumed_lengths(facts.task, wanted)
    if wanted is not None:
        tokens, why = min(wanted, context), "as asked for"
    elif lengths.p99 > context:
        tokens, why = context, f"the model's context; 99% of the examples need {lengths.p99:,}"
    else:
        tokens = min(-(-lengths.p99 // MULTIPLE) * MULTIPLE, context)
        why = f"99% of the examples have at most {lengths.p99:,} tokens"
        why += f" ({lengths.measured_with})" if lengths.assumed else ""
    if facts.divides:
        items = _items(lengths, tokens)
        return Cap(tokens, lengths.mean / items, why, _cuts(lengths, tokens), DIVIDED, items)
    answered = facts.task != "classification" or facts.classes_by == "generate"
    fate = _ANSWERED if answered else Cap.fate
    return Cap(tokens, min(lengths.mean, float(tokens)), why, _cuts(lengths, tokens), fate)


def _items(lengths: LengthFacts, tokens: int) -> float:
    """Items that a text becomes on average, where short texts share one and long ones are divided.

    They are full, except that no two pieces share one that are longer than half of it. Lengths are
    taken to be uniform between the measured percentiles.
    """
    ends = (1, lengths.p50, lengths.p90, lengths.p99, lengths.longest)
    shares = (0.5, 0.4, 0.09, 0.01)
    alone = sum(
        share * round((low + (high - low) * (step + 0.5) / _STEPS) / tokens) / _STEPS
        for share, (low, high) in zip(shares, pairwise(ends), strict=True)
        for step in range(_STEPS)
    )
    return max(alone, lengths.mean / tokens)


def _cuts(lengths: LengthFacts, tokens: int) -> str:
    """The share of examples that are longer, estimated from the percentiles."""
    if lengths.longest <= tokens:
        return ""
    if lengths.p99 <= tokens:
        return USUAL
    if lengths.p90 <= tokens:
        return "1% to 10%"
    return "10% to 50%" if lengths.p50 <= tokens else "more than half"
