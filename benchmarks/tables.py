"""Tables in Markdown."""

from __future__ import annotations


def line(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*titles: str) -> str:
    """The two lines above a table's rows."""
    return f"{line(*titles)}\n|{'---|' * len(titles)}"
