"""Plans and findings as a notebook shows them: what a terminal shows, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from io import StringIO

from rich.console import Console, Group, RenderableType

from sweeper.findings import words
from sweeper.findings.record import Findings
from sweeper.views.console import WIDTH, table, text
from sweeper.visible import visible


def html_of(page: RenderableType) -> str:
    """A page of the terminal, every text escaped."""
    console = Console(file=StringIO(), record=True, width=WIDTH, force_jupyter=False)
    console.print(page)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def findings_page(findings: Findings) -> Group:
    """The verdict, and the finalists with their figures."""
    metric, compared = findings.metric, findings.objective
    title = ", ".join(filter(None, (words.on_validation(compared), words.column_unit(compared))))
    headings = ["", "trial", "strategy", title, f"test {metric.title}"]
    rows = [
        [
            str(one.order),
            f"#{one.trial}",
            words.short(one.strategy),
            words.score((value := one.objective or one.validation_loss).value, compared, value),
            words.score_with_interval(one.test_score, metric),
        ]
        for one in sorted(findings.finalists, key=lambda finalist: finalist.order)
    ]
    verdict = text(findings.verdict.sentence)
    return Group(verdict, table(headings, rows)) if rows else Group(verdict)


def pre(lines: Iterable[str]) -> str:
    """Lines as they are, one below the other."""
    return f"<pre>{escape(visible(chr(10).join(lines)))}</pre>"
