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


def live_page(report: str, lines: Iterable[str], refresh_seconds: int | None) -> str:
    """The report with the progress of its run on top.

    Args:
        report: ``report.html`` as it is now; empty where there is none yet.
        refresh_seconds: The browser loads the page again after so long; None when it has ended.
    """
    page = report or '<!doctype html>\n<html lang="en"><head>\n<meta charset="utf-8">\n' + (
        "<title>sweeper</title></head>\n<body>\n</body></html>\n"
    )
    charset, body = '<meta charset="utf-8">\n', "<body>\n"
    again = f'<meta http-equiv="refresh" content="{refresh_seconds}">\n' if refresh_seconds else ""
    page = page.replace(charset, charset + again, 1)
    return page.replace(body, f'{body}<div class="page" role="status">{pre(lines)}</div>\n', 1)


def pre(lines: Iterable[str]) -> str:
    """Lines as they are, one below the other."""
    return f"<pre>{escape(visible(chr(10).join(lines)))}</pre>"
