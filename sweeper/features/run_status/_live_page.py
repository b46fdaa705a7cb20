"""The page of ``sweeper show --live``."""

from __future__ import annotations

from rich.console import RenderableType

from sweeper.views.notebook import html_of


def live_page(report: str, progress: RenderableType, refresh_seconds: int | None) -> str:
    """The report with the progress of its run on top.

    Args:
        report: ``report.html`` as it is now; empty before there is one.
        refresh_seconds: Seconds between reloads of the page; None when the run has ended.
    """
    page = report or '<!doctype html>\n<html lang="en"><head>\n<meta charset="utf-8">\n' + (
        "<title>sweeper</title></head>\n<body>\n</body></html>\n"
    )
    charset, body = '<meta charset="utf-8">\n', "<body>\n"
    refresh_tag = (
        f'<meta http-equiv="refresh" content="{refresh_seconds}">\n' if refresh_seconds else ""
    )
    page = page.replace(charset, charset + refresh_tag, 1)
    return page.replace(
        body, f'{body}<div class="page" role="status">{html_of(progress)}</div>\n', 1
    )
