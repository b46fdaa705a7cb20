"""Strategies whose marks in charts are the same."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

from sweeper.traits.traits import COLORS, Shape, known_strategies, traits_of


def mark_clashes() -> list[str]:
    """Sentences on installed strategies with the same shape or line, and on the free ones."""
    marks = {name: traits_of(name).mark for name in known_strategies()}
    lines = {name: (mark.color, *mark.dash) for name, mark in marks.items()}
    shapes = [
        shape for shape in get_args(Shape) if shape not in {mark.shape for mark in marks.values()}
    ]
    colors = [str(color) for color in COLORS if (color, 1, 0) not in lines.values()]
    clashes = []
    for first, second in combinations(marks, 2):
        same = f"the charts of {first} and {second} have the same"
        if marks[first].shape == marks[second].shape:
            clashes.append(f"{same} shape; free shapes: {', '.join(shapes) or 'none'}")
        if lines[first] == lines[second]:
            free = ", ".join(colors) or "none"
            clashes.append(f"{same} color and dash; colors that are free without a dash: {free}")
    return clashes
