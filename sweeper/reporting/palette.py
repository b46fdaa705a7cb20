"""How a strategy looks: colour, shape and dash, so that no mark speaks by colour alone.

Six colours were chosen to differ under three types of colour vision; the stylesheet holds their
values for both themes. P-tuning shares prefix tuning's colour with another shape and dash, and a
strategy that is not known here gets the neutral colour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """One strategy's look. ``shape`` and ``dash`` are Vega's; ``glyph`` stands in text."""

    css: str
    color: str
    shape: str
    glyph: str
    dash: tuple[int, ...] = (1, 0)


_LOOKS = {
    "full": Look("s-full", "var(--full)", "circle", "●"),
    "lora": Look("s-lora", "var(--lora)", "square", "■"),
    "qlora": Look("s-qlora", "var(--qlora)", "diamond", "◆"),
    "prefix": Look("s-prefix", "var(--prefix)", "triangle-up", "▲"),
    "ptuning": Look("s-ptuning", "var(--prefix)", "triangle-down", "▼", (8, 3, 2, 3)),
    "adapter": Look("s-adapter", "var(--adapter)", "cross", "✚"),
    "head": Look("s-head", "var(--head)", "triangle-right", "▶"),
}
_OTHER = Look("s-other", "var(--other)", "stroke", "◇", (4, 2))


def look(strategy: str) -> Look:
    """How that strategy looks everywhere in a report, on whichever base model."""
    return _LOOKS.get(strategy.partition("@")[0], _OTHER)
