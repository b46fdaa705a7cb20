"""Terminal output as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from io import StringIO

from rich.console import Console, RenderableType

from sweeper.views.console import MAX_WIDTH
from sweeper.visible import visible


def html_of(page: RenderableType) -> str:
    """A page as HTML, with escaped texts."""
    console = Console(file=StringIO(), record=True, width=MAX_WIDTH, force_jupyter=False)
    console.print(page)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def pre(lines: Iterable[str]) -> str:
    """Lines in a ``<pre>`` element."""
    return f"<pre>{escape(visible(chr(10).join(lines)))}</pre>"
