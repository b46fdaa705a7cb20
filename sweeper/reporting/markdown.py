"""``report.md``: the report in at most 60 lines, for a pull request's comment.

The first line is a hidden marker with the study's name, by which a comment is found and updated.
"""

from __future__ import annotations

import re

from sweeper.features.parts import HEADING
from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.findings.verdict.headline import headline_figures
from sweeper.findings.verdict.scoreboard import scoreboard
from sweeper.reporting.document import Report
from sweeper.reporting.find_sections import sections
from sweeper.reporting.page import banner, finding_of
from sweeper.reporting.parts import limits_line
from sweeper.visible import visible

LINES = 60
_ROWS = 8
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")


def markdown(report: Report) -> str:
    """The report as Markdown."""
    findings = report.findings
    run, decided = findings.run, findings.verdict
    marker = re.sub(r"[^A-Za-z0-9._-]", "-", run.name).replace("--", "-")
    lines = [f"<!-- sweeper:{marker} -->", f"## sweeper: {plain(run.name)}", ""]
    if notice := banner(report):
        lines += [f"> {plain(notice)}", ""]
    lines += [f"**{plain(decided.sentence)}**", ""]
    lines += [f"{plain(text)}\n" for text in report.because]
    lines += [*_scores(report), "", *_figures(report), ""]
    lines_of = {HEADING.required(part).title: finding_of(part, report) for part in sections()}
    again = findings.reproduction.command
    lines += [
        f"- {title}: {plain(line)}" for title, line in lines_of.items() if line not in ("", again)
    ]
    first = limits_line(findings)
    limits = [limit for limit in findings.limits if limit.text not in first]
    lines += ["", plain(first), *_limits(limits), "", *_again(report)]
    return "\n".join(lines[:LINES]) + "\n"


def plain(text: str) -> str:
    """Text that no Markdown renderer takes for markup, on one line."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _scores(report: Report) -> list[str]:
    """Every model of the scoreboard, the recommended one bold."""
    board = scoreboard(report.findings)
    lines = [f"| {plain(board.caption)} | |", "|---|---:|"] if board.models else []
    for model in board.models[:_ROWS]:
        bold = "**" if model.role == "recommended" else ""
        score = words.score_with_interval(model.score, board.metric)
        lines.append(f"| {bold}{plain(model.title)}{bold} | {score} |")
    return lines


def _figures(report: Report) -> list[str]:
    """What training and use cost."""
    figures = headline_figures(report.findings)[1:]
    return [plain("; ".join(f"{figure.name}: {figure}" for figure in figures))]


def _limits(limits: list[Limitation]) -> list[str]:
    lines = [f"- {plain(limit.text)} {plain(limit.action)}" for limit in limits[:_ROWS]]
    more = len(limits) - _ROWS
    return [*lines, *([f"- and {more} more in report.html"] if more > 0 else [])]


def _again(report: Report) -> list[str]:
    command = report.findings.reproduction.command.replace("`", "")
    command = visible(" ".join(command.split()))
    return [f"Again: `{command}`. The whole report is `report.html`."]
