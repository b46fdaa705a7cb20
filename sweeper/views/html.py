"""Plans and findings as a notebook shows them: a sentence and a table, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from sweeper.findings import words
from sweeper.findings.record import Findings
from sweeper.plans import Plan
from sweeper.units import span
from sweeper.views.plan_view import candidate_table, title
from sweeper.visible import visible


def plan_html(plan: Plan) -> str:
    """The strategies, what was left out, and the time of the whole sweep."""
    lines = [f"left out: {one.strategy}: {one.reason}" for one in plan.rejected]
    sweep = plan.budget.sweep
    lines.append(f"{plan.budget.trials} trials and all else: {span(sweep.low, sweep.high)}")
    table = _table(*candidate_table(plan))
    return _paragraph(title(plan)) + table + "".join(map(_paragraph, lines))


def findings_html(findings: Findings) -> str:
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
    return _paragraph(findings.verdict.sentence) + (_table(headings, rows) if rows else "")


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
    return f"<pre>{_escaped(chr(10).join(lines))}</pre>"


def _paragraph(text: str) -> str:
    return f"<p>{_escaped(text)}</p>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{_escaped(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{row('th', headings)}</thead><tbody>{body}</tbody></table>"


def _escaped(text: str) -> str:
    return escape(visible(text))
