"""The style of a strategy: colour, shape and dash, so that colour alone never distinguishes it.

A strategy's file chooses among six colours, which differ under three types of colour blindness, and
a neutral one. The stylesheet has their values for both themes, and the symbol of every shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.traits.traits import UNKNOWN, Shape, StrategyOnModel

#: Shape to its symbol in text; the stylesheet has the same symbols.
GLYPHS: dict[Shape, str] = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "triangle-left": "◀",
    "triangle-right": "▶",
    "cross": "✚",
    "stroke": "◇",
}


@dataclass(frozen=True)
class Look:
    """A strategy's style. ``shape`` and ``dash`` are Vega's; ``glyph`` is used in text."""

    css: str
    color: str
    shape: str
    glyph: str
    dash: tuple[int, ...] = (1, 0)


def look(strategy: StrategyOnModel) -> Look:
    """The style of a strategy in the whole report, on any base model."""
    traits = strategy.traits
    mark = traits.mark if traits else UNKNOWN
    return Look(
        css=f"s-{mark.shape} c-{mark.color}",
        color=f"var(--mark-{mark.color})",
        shape=mark.shape,
        glyph=GLYPHS[mark.shape],
        dash=mark.dash,
    )
