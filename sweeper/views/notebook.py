"""Terminal output as HTML for notebooks."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType

from sweeper.views.console import MAX_WIDTH


def html_of(page: RenderableType) -> str:
    """A page as HTML, with escaped texts."""
    console = Console(file=StringIO(), record=True, width=MAX_WIDTH, force_jupyter=False)
    console.print(page)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
