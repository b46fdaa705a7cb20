"""Plans and findings as a notebook shows them: what a terminal shows, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from io import StringIO

from rich.console import Console, RenderableType

from sweeper.views.console import WIDTH
from sweeper.visible import visible


def html_of(page: RenderableType) -> str:
    """A page of the terminal, every text escaped."""
    console = Console(file=StringIO(), record=True, width=WIDTH, force_jupyter=False)
    console.print(page)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def pre(lines: Iterable[str]) -> str:
    """Lines as they are, one below the other."""
    return f"<pre>{escape(visible(chr(10).join(lines)))}</pre>"
