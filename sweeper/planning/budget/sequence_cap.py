"""The sequence cap: the most tokens of an example that are used, with the reason.

Memory is not considered here; ``fitting`` rejects a cap that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sweeper.data.long_rows import LongRow
from sweeper.facts.dataset.length_cap import cap_of
from sweeper.facts.dataset.stated import assumed_lengths
from sweeper.facts.record import Facts, LengthFacts, ModelFacts
from sweeper.spec import Spec


@dataclass(frozen=True)
class Cap:
    """The cap in tokens, its reason and its effect.

    Args:
        mean: Mean tokens of an item.
        longer: Text on the share of longer examples; empty if there are none.
        longest: Tokens of the longest example.
        many: Whether more than 1% of the examples are longer.
        becomes: What is done with longer examples.
        pieces: Mean number of items per train example; below one if texts share items.
    """

    tokens: int
    mean: float
    why: str
    longer: str
    longest: int
    many: bool
    becomes: LongRow
    pieces: float = 1.0

    def items(self, rows: int) -> int:
        """The number of items made from ``rows`` train examples."""
        return max(round(rows * self.pieces), 1)


# Number of lengths per interval between two percentiles.
_LENGTHS_PER_INTERVAL = 20


def sequence_cap(spec: Spec, facts: Facts, model: ModelFacts) -> Cap:
    """The user's cap, else the length that 99% of the examples fit into, within the context."""
    context, wanted = model.context_length, spec.training.max_length
    lengths = facts.data.lengths or assumed_lengths(facts.task, spec.data.assumed_length)
    tokens = cap_of(lengths, wanted, context)
    if wanted is not None:
        why = "as asked for"
    elif lengths.p99 > context:
        why = f"the model's context; 99% of the examples need {lengths.p99:,}"
    else:
        why = f"99% of the examples have at most {lengths.p99:,} tokens"
        why += f" ({lengths.measured_with})" if lengths.assumed else ""
    items = _items_per_text(lengths, tokens) if facts.splits_long_texts else 1.0
    return Cap(
        tokens=tokens,
        mean=lengths.mean / items if facts.splits_long_texts else min(lengths.mean, float(tokens)),
        why=why,
        longer=_longer(lengths, tokens),
        longest=lengths.longest,
        many=lengths.p99 > tokens,
        becomes=facts.long_rows,
        pieces=items,
    )


def _items_per_text(lengths: LengthFacts, tokens: int) -> float:
    """Mean number of items per text, if short texts share an item and long ones are divided.

    Items are full, except that two pieces longer than half an item do not share one. Lengths are
    assumed to be uniform between the measured percentiles.
    """
    ends = (1, lengths.p50, lengths.p90, lengths.p99, lengths.longest)
    shares = (0.5, 0.4, 0.09, 0.01)
    # ``round`` counts the pieces of a text longer than half an item; each needs its own item.
    long_pieces = sum(
        share
        * round((low + (high - low) * (step + 0.5) / _LENGTHS_PER_INTERVAL) / tokens)
        / _LENGTHS_PER_INTERVAL
        for share, (low, high) in zip(shares, pairwise(ends), strict=True)
        for step in range(_LENGTHS_PER_INTERVAL)
    )
    return max(long_pieces, lengths.mean / tokens)


def _longer(lengths: LengthFacts, tokens: int) -> str:
    """Text on the longer examples: their number if it was counted for this cap, else a share."""
    counted = lengths.too_long
    if lengths.longest <= tokens:
        return ""
    if counted is not None and counted.cap == tokens:
        return f"{counted.rows:,} of {counted.of:,}"
    if lengths.p99 <= tokens:
        return "at most 1%"
    if lengths.p90 <= tokens:
        return "1% to 10%"
    return "10% to 50%" if lengths.p50 <= tokens else "more than half"
